"""The documents' code blocks, and how they are run: one mechanism for all pages.

A block behind `<!-- not run: REASON -->` is not run. One with a `title` writes the file of
that name, or, of `diff`, changes it: each run of lines with - becomes those with +. `sh` is
run line by line, `python` in one namespace a page.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("*.md", "docs/*.md", "docs/networks/*.md", "examples/*.md", "src/poised/models/*.md")
SHOWN = ("json", "mermaid", "csv", "yaml", "diff")  # languages of what is there to be read
FENCE = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n)?"
    r'```(?P<language>\w*)(?: title="(?P<name>[^"]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "optional-dependencies"
]


@dataclass(frozen=True)
class Block:
    """language, and file name behind it; reason: why it is not run, if it is not."""

    language: str
    name: str
    text: str
    reason: str | None

    @property
    def runs(self) -> bool:
        return self.reason is None and (bool(self.name) or self.language not in SHOWN)


def pages() -> dict[str, list[Block]]:
    """Every document's blocks, by its path in the repository."""
    found = {}
    for pattern in FOLDERS:
        for path in sorted(ROOT.glob(pattern)):
            found[path.relative_to(ROOT).as_posix()] = blocks(path.read_text("utf-8"))
    return found


def blocks(text: str) -> list[Block]:
    """A document's blocks in their order; ValueError where a fence is not closed."""
    found = [
        Block(match["language"], match["name"] or "", match["text"], match["reason"])
        for match in FENCE.finditer(text)
    ]
    fences = len(re.findall(r"^```", text, re.MULTILINE))
    if fences != 2 * len(found):
        raise ValueError(f"{fences} fences, {len(found)} blocks")
    return found


def run_blocks(page: str, folder: Path, command: Callable[[list[str], str], str]) -> str:
    """Run a page's blocks in a folder, the working one; what they said.

    command: runs a `poised` command's words, given with what is behind ||, and gives its output.
    """
    said = ""
    names: dict[str, Any] = {}
    for block in pages()[page]:
        if not block.runs:
            continue
        if block.language == "diff":
            change(folder / block.name, block.text)
        elif block.name:
            (folder / block.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / block.name).write_text(block.text, "utf-8")
        elif block.language == "python":
            exec(compile(block.text, page, "exec"), names)
        else:
            assert block.language == "sh", f"{page}: nobody runs {block.language!r}"
            for line in block.text.replace("\\\n", " ").splitlines():
                said += run_line(line, folder, command)
    return said


def run_line(line: str, folder: Path, command: Callable[[list[str], str], str]) -> str:
    """One line: ours by `command`, python's in another process, of pip's the extras looked up."""
    first, _, otherwise = line.partition("||")
    words = shlex.split(first, comments=True)
    if not words:
        return ""
    if words[:2] == ["pip", "install"]:
        asked = re.findall(r"\[([\w,]+)\]", line)
        unknown = {extra for group in asked for extra in group.split(",")} - set(EXTRAS)
        assert not unknown, f"{line}: no extra {unknown}"
        return ""
    if words[0] == "python":
        subprocess.run([sys.executable, *words[1:]], cwd=folder, check=True)
        return ""
    assert words[0] == "poised", f"nobody runs {line!r}"
    return command(words[1:], otherwise)


def change(path: Path, text: str) -> None:
    """Lines with - of a file become those with +; they must be there once."""
    lines = text.splitlines()
    old = "\n".join(line[1:] for line in lines if line.startswith("-"))
    new = "\n".join(line[1:] for line in lines if line.startswith("+"))
    before = path.read_text("utf-8")
    assert before.count(old + "\n") == 1, f"{path} has not once: {old}"
    path.write_text(before.replace(old + "\n", new + "\n"), "utf-8")
