"""Run command lines one after the other in one process, which imports torch but once.

`python -W error tests/command_lines.py FILE`: FILE holds JSON, name -> words. Of each, NAME.out and
NAME.err beside it take what came out of the descriptors 1 and 2, so that nothing slips by that C's
code or a child process prints; codes.json takes the exit codes, outside.json what was written
elsewhere than in FILE's folder, and who was asked but for the PORTS of this machine.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

from guarded import guard, seen

from poised.cli import app


def run(words: list[str], name: Path) -> int:
    """The exit code of one, whose output is kept."""
    kept = [os.dup(1), os.dup(2)]
    for number, end in ((1, ".out"), (2, ".err")):
        with name.with_name(name.name + end).open("wb") as file:
            os.dup2(file.fileno(), number)
    try:
        app(words, prog_name="poised")
    except SystemExit as done:
        return int(done.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
    return 1


if __name__ == "__main__":
    lines = Path(sys.argv[1])
    codes = {}
    guard(str(lines.parent), os.environ.get("PORTS", ""))
    for name, words in json.loads(lines.read_text("utf-8")).items():
        codes[name] = run(words, lines.with_name(name))
    lines.with_name("outside.json").write_text(json.dumps(seen))
    lines.with_name("codes.json").write_text(json.dumps(codes))
