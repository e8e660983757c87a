"""`python -m fuzz [TARGET ...]`: each reader for FUZZ_SECONDS, in a process that may die.

Inputs that are read wrongly are kept in fuzz-findings/TARGET/, and tried first the next time.
FUZZ_FIRST is the number of the first input: another one gives other inputs.
"""

from __future__ import annotations

import itertools
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fuzz.targets import TARGETS
from fuzz.trial import SLOW, Target, findings, refresh, try_one

SECONDS = float(os.environ.get("FUZZ_SECONDS", "600"))
FIRST = int(os.environ.get("FUZZ_FIRST", "0"))
KEPT = Path("fuzz-findings")
CRASHES = 20  # of one reader, after which it is left


def main(names: list[str]) -> int:
    unknown = set(names) - set(TARGETS)
    if unknown:
        print(f"no targets {', '.join(sorted(unknown))}; known: {', '.join(TARGETS)}")
        return 2
    wrong = 0
    for name in names or TARGETS:
        wrong += fuzzed(name)
    return 1 if wrong else 0


def fuzzed(name: str) -> int:
    """Try a reader for SECONDS; the number of findings, which are different from each other."""
    target, found = TARGETS[name], {}
    start, number, tried = time.monotonic(), FIRST, 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "f"
        while time.monotonic() - start < SECONDS:
            left = SECONDS - (time.monotonic() - start)
            command = [
                sys.executable,
                "-m",
                "fuzz",
                "--work",
                name,
                str(number),
                str(left),
                scratch,
            ]
            with (Path(scratch) / "said").open("w+") as said:
                try:
                    code = subprocess.run(command, stdout=said, timeout=left + 4 * SLOW).returncode
                except subprocess.TimeoutExpired:
                    code = -9
                said.seek(0)
                lines = said.read().splitlines()
            for line in lines:
                if line.startswith("{"):
                    row = json.loads(line)
                    found.setdefault(signature(row["wrong"]), row["wrong"])
            if code > 0:
                print(f"{name}: the work ended with {code}", flush=True)
                return 1
            last = int((Path(scratch) / "number").read_text())
            tried += last + 1 - number
            number = last + 1
            if code == 0:
                break
            wrong = f"killed by signal {-code}"
            keep(name, target, folder, wrong)
            found.setdefault(f"{wrong} {number}", f"{wrong}: {last}")
            if sum(key.startswith("killed") for key in found) >= CRASHES:
                break
    seconds = time.monotonic() - start
    print(f"{name}: {tried} inputs in {seconds:.0f} s, {len(found)} findings", flush=True)
    for wrong in found.values():
        print(f"  {wrong}", flush=True)
    return len(found)


def signature(wrong: str) -> str:
    """What is the same of findings with one cause: the error and its place, no values."""
    return re.sub(r"\d+|'[^']*'|/\S+", "", wrong.partition(": ")[0])


def work(name: str, first: int, seconds: float, scratch: Path) -> None:
    """Feed the reader, and print what is found as JSON lines."""
    logging.disable(logging.WARNING)
    target, folder = TARGETS[name], scratch / "f"
    if first == FIRST:
        replay(name, target, folder)
    end = time.monotonic() + seconds

    def numbers() -> Iterator[int]:
        for number in itertools.count(first):
            yield number  # one at least, however long the first file takes to be made
            if time.monotonic() > end:
                return

    def before(number: int) -> None:
        (scratch / "number").write_text(str(number))

    before(first - 1)
    seen = set()
    for number, wrong in findings(target, folder, numbers(), before):
        if signature(wrong) not in seen:
            seen.add(signature(wrong))
            keep(name, target, folder, wrong)
            print(json.dumps({"number": number, "wrong": wrong}), flush=True)


def replay(name: str, target: Target, folder: Path) -> None:
    """Try what was found before; what is mended is removed."""
    for path in sorted((KEPT / name).glob("*.input")):
        refresh(target, folder)
        (folder / target.file).write_bytes(path.read_bytes())
        wrong = try_one(target, folder)
        if wrong is None:
            path.unlink()
            path.with_suffix(".txt").unlink(missing_ok=True)
        else:
            print(json.dumps({"number": path.stem, "wrong": wrong}), flush=True)


def keep(name: str, target: Target, folder: Path, wrong: str) -> None:
    """Write the input, and what is wrong, into KEPT, by what is wrong."""
    place = KEPT / name
    place.mkdir(parents=True, exist_ok=True)
    stem = re.sub(r"\W+", "-", signature(wrong))[:80]
    data = (folder / target.file).read_bytes() if (folder / target.file).is_file() else b""
    (place / f"{stem}.input").write_bytes(data)
    (place / f"{stem}.txt").write_text(wrong + "\n", "utf-8", "backslashreplace")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--work"]:
        work(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
    else:
        sys.exit(main(sys.argv[1:]))
