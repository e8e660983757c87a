"""A prediction of many images that is kept part by part: the same command goes on where it stopped.

In a run's folder:
  run.json      what was asked, and once all is done, what came of it
  poses.parts/  000000.jsonl and so on, the parts that are done: of each image a line (parts.py)
  pictures/, and lock, which is held by the process that works there

A part is PART images that follow each other, written whole; what is cut short is done again. Its
people share batches with no other part's, as the last digits of what an engine answers can depend
on a batch's other people: so a part is the same whenever it is done. When the last one is, the
results are put together of them, a line at a time, and they are removed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from poised.files import FULL, locked, moved_aside, sync, unlink_link, write_text, written_whole
from poised.image_list import MANIFEST, PICTURES, has_drawn
from poised.interrupt import Interrupted
from poised.reading import json_text, parse_json, read_json, short
from poised.results import FILE_NAMES, ResultWriter
from poised.run_forms import Totals, check_line, faults
from poised.types import Skeleton

PART = 256  # images; `benchmarks/folder_run.py` finds no cost in that
PARTS, SET_ASIDE = "poses.parts", "set_aside.jsonl"
RESULTS = (PICTURES, SET_ASIDE, "skeleton.json", *FILE_NAMES.values())
ALL = (MANIFEST, PARTS, *RESULTS)
SHOWN = 120  # characters of a value in a message

Line = dict[str, Any]
Asked = Mapping[str, Any]
Stopped = Callable[[], int | None]  # the number of the signal that was heard, if any
Item = TypeVar("Item")
AGAIN = "Remove it, and the same command does its images again."


def nobody() -> None:
    """No signal is heard."""


class RunError(ValueError):
    """A run that cannot be begun or gone on with: says why, what is kept and what to do."""


def describe_images(images: Sequence[Path], shard: str | None = None) -> dict[str, Any]:
    """What a run says of its list of images, and which of its parts it does; see `Run.mine`."""
    digest = hashlib.sha256()
    for path in images:
        digest.update(str(path).encode("utf-8", "surrogateescape") + b"\0")
    names = digest.hexdigest()
    return {"images": len(images), "images_sha256": names, "part": PART, "shard": shard}


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Make a folder, see that it can be written to, and hold it against other processes.

    Raises RunError where it cannot be, BlockingIOError that names the other process.
    """
    with ExitStack() as stack:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
            stack.enter_context(locked(out / "lock"))
            probe = out / f"{MANIFEST}.part"
            unlink_link(probe)
            probe.write_bytes(b"\n")
            probe.unlink()
        yield


@contextmanager
def writing(out: Path, kept: Callable[[], str] | None = None) -> Iterator[None]:
    """An OSError of what is written becomes a RunError that says what is kept, and what to do."""
    try:
        yield
    except BlockingIOError:
        raise
    except OSError as error:
        todo = "make room" if error.errno in FULL else "make it writable"
        if isinstance(error, FileExistsError | NotADirectoryError):
            todo = "move the file that is there away"
        if kept is None:
            then = f"{todo.capitalize()}, or choose another folder (--out OTHER)"
        else:
            then = f"{kept()}: {todo}, and the same command goes on"
        raise RunError(f"{out} cannot be written to: {error.strerror or error}. {then}") from error


def check_free(out: Path, names: Iterable[str]) -> None:
    """Raise RunError where a file or folder of a new run's names is there already."""
    found = [out / name for name in names if os.path.lexists(out / name)]
    if found:
        raise RunError(
            f"{found[0]} is there already, of no run that is known: write to another folder "
            "(--out OTHER), or let --restart put it into earlier-1"
        )


def check_same(out: Path, unlike: Sequence[str]) -> None:
    """Raise RunError where a folder's run and the one that is asked for are unlike in something."""
    if unlike:
        raise RunError(
            f"{out} holds another run: {'; '.join(unlike)}. Write to another folder "
            "(--out OTHER), or begin anew in this one (--restart)."
        )


def begin(out: Path, asked: Asked, restart: bool = False) -> Run:
    """The run in a folder that is `held`: a new one, or that which the same was asked of before.

    restart: put the one that is there into out/earlier-1 (-2, ...). Raises RunError where there is
    another one, which names what differs.
    """
    asked = json.loads(json_text(asked))  # as it is read again: no tuples
    with writing(out):
        if restart:
            drawn = has_drawn(out) or asked.get("pictures")
            moved_aside(out, ALL if drawn else [name for name in ALL if name != PICTURES])
        if not (out / MANIFEST).is_file():
            check_free(out, RESULTS if asked.get("pictures") else RESULTS[1:])
            if (out / PARTS).exists():  # of nobody knows what
                shutil.rmtree(out / PARTS)
            run = Run(out, asked, None)
            run.save()
            return run
    before = read_run(out)
    check_same(out, differences(before.asked, asked))
    return before


def read_run(folder: Path) -> Run:
    """The run of a folder; not a done one where its results are gone. RunError where none is."""
    path = folder / MANIFEST
    if not path.exists():
        raise RunError(f"{folder} holds no run: there is no {MANIFEST} in it")
    notes = read_json(path, RunError)
    wrong = faults(notes)
    if wrong:
        raise RunError(
            f"{path} is of no run of images, or damaged ({wrong}); choose another folder "
            "(--out OTHER), or begin anew in this one (--restart)"
        )
    run = Run(folder, notes["asked"], None)
    there = not run.missing() if run.asked["shard"] else run.results.is_file()
    if there and notes["done"] is not None:
        run.totals = Totals(**notes["done"])
    return run


def differences(there: Asked, here: Asked) -> list[str]:
    """What was asked there and is not here, each with both values."""

    def shown(value: Any) -> str:
        text = json.dumps(value, ensure_ascii=False)
        return text if len(text) <= SHOWN else text[:SHOWN] + "..."

    return [
        f"{name} is {shown(there.get(name))} there and {shown(here.get(name))} here"
        for name in {**there, **here}
        if there.get(name) != here.get(name)
    ]


@dataclass
class Run:
    """A run in its folder; totals: what came of it, None where it is not done."""

    out: Path
    asked: Asked
    totals: Totals | None

    @property
    def results(self) -> Path:
        """The file of the results."""
        return self.out / FILE_NAMES[self.asked["format"]]

    @property
    def mine(self) -> range:
        """The numbers of its parts: all, or those of shard i/n: i - 1 and each n-th from there.

        So that folders of many people, whose images are neighbours, are spread over the shards.
        """
        first, step = map(int, (self.asked["shard"] or "1/1").split("/"))
        return range(first - 1, -(-self.asked["images"] // self.asked["part"]), step)

    def places(self, part: int) -> range:
        """The places in the list of a part's images."""
        size = self.asked["part"]
        return range(part * size, min((part + 1) * size, self.asked["images"]))

    def file(self, part: int) -> Path:
        """Of a part that is done."""
        return self.out / PARTS / _name(part)

    def missing(self) -> list[int]:
        """The parts that are to be done."""
        if self.totals is not None:
            return []
        there = set(os.listdir(self.out / PARTS)) if (self.out / PARTS).is_dir() else set()
        return [part for part in self.mine if _name(part) not in there]

    def left(self) -> int:
        """How many images are to be done."""
        return sum(len(self.places(part)) for part in self.missing())

    def kept(self) -> str:
        """What a run that stops leaves, for the user."""
        count = sum(len(self.places(part)) for part in self.mine)
        return f"{count - self.left()} of {count} images are done, and kept in {self.out}"

    def save(self) -> None:
        """Write run.json."""
        notes = {"asked": dict(self.asked), "done": self.totals and asdict(self.totals)}
        with writing(self.out):
            write_text(self.out / MANIFEST, json_text(notes, indent=1) + "\n", durable=True)

    def keep(self, part: int, lines: Iterable[Line], pictures: Sequence[Path]) -> None:
        """Record a part as done, when its pictures would outlast a power cut."""
        text = "".join(json_text(line) + "\n" for line in lines)
        with writing(self.out, self.kept):
            for path in (*pictures, *{picture.parent for picture in pictures}):
                sync(path)
            write_text(self.file(part), text, durable=True)
            sync(self.out)  # in which the folder of the parts is new

    def lines(self, part: int) -> Iterator[Line]:
        """A part's lines; RunError where they are not those of its images."""
        count, joints = 0, len(self.asked["skeleton"]["keypoints"])
        try:
            with self.file(part).open(encoding="utf-8") as file:
                for count, text in enumerate(file, 1):
                    line = parse_json(text, f"line {count}", ValueError)
                    check_line(line, joints, count)
                    yield line
        except (OSError, ValueError) as error:
            raise RunError(f"{self.file(part)} cannot be read: {short(error)}. {AGAIN}") from error
        if count != len(self.places(part)):
            raise RunError(f"{self.file(part)} has {count} lines, too few. {AGAIN}")

    def finish(self, stopped: Stopped = nobody) -> Totals:
        """The results, put together of the parts, which are then removed; a shard's parts stay."""
        if self.totals is None:
            lines = self.until(stopped, (line for part in self.mine for line in self.lines(part)))
            if self.asked["shard"]:
                self.totals = Totals()
                for line in lines:
                    self.totals.count(line)
            else:
                with writing(self.out, self.kept):
                    self.totals = put_together(self.out, self.asked, lines)
            self.save()
        if not self.asked["shard"]:
            shutil.rmtree(self.out / PARTS, ignore_errors=True)
        return self.totals

    def until(self, stopped: Stopped, items: Iterable[Item]) -> Iterator[Item]:
        """The items, as long as no signal is heard; raises Interrupted then."""
        for item in items:
            number = stopped()
            if number is not None:
                raise Interrupted(number, f"stopped: {self.kept()}; the same command goes on")
            yield item


def _name(part: int) -> str:
    return f"{part:06}.jsonl"


def put_together(out: Path, asked: Asked, lines: Iterable[Line]) -> Totals:
    """Write the results of all images' lines, in their order, and what was set aside."""
    totals = Totals()
    skeleton = Skeleton.from_dict(asked["skeleton"])
    with (
        written_whole(out / SET_ASIDE, durable=True) as partial,
        partial.open("w", encoding="utf-8") as set_aside,
        ResultWriter(out, skeleton, asked["format"]) as results,
    ):
        for line in lines:
            totals.count(line)
            if "set_aside" in line:
                notes = {"file_name": line["file_name"], "reason": line["set_aside"]}
                set_aside.write(json_text(notes) + "\n")
            else:
                results.write_records(line["people"])
    if not totals.set_aside:
        (out / SET_ASIDE).unlink()
    return totals
