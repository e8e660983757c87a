"""A folder of pictures, and `poised predict` of it: in a process that may be disturbed, or here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from models import colour_model
from PIL import Image
from typer.testing import CliRunner

from poised.cli import app

DISTURBED = str(Path(__file__).with_name("disturbed.py"))
IMAGES, PART = 14, 3  # and three files that are set aside or cannot be drawn: six parts


def make_given(folder: Path) -> None:
    """In a folder: `in`, noise among which are a broken file, a video, and a picture too wide to
    be drawn; and a model of it."""
    (folder / "in" / "below").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        noise = rng.integers(0, 255, (20, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        name = f"{number % 10}.png"  # some of one name
        Image.fromarray(noise).save(folder / "in" / ("" if number < 10 else "below") / name)
    (folder / "in" / "4-broken.jpg").write_bytes(b"no image")
    (folder / "in" / "7-clip.mp4").write_bytes(b"x")
    Image.new("L", (66000, 8)).save(folder / "in" / "8-wide.png")
    colour_model(folder / "dots.onnx")


def command(given: Path, out: Path, *more: str) -> list[str]:
    arguments = ["predict", str(given / "in"), "--out", str(out), "--whole-image", "--threads", "2"]
    return [*arguments, "--model", str(given / "dots.onnx"), *more]


def run(given: Path, out: Path, *more: str, kind: str = "KILL", moment: int = 0) -> tuple[int, str]:
    """`poised predict` in a process of its own: its exit code, and all that it said."""
    done = subprocess.run(
        [sys.executable, DISTURBED, kind, str(moment), *command(given, out, *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def here(arguments: list[str]) -> tuple[int, str]:
    """A command in this process."""
    done = CliRunner().invoke(app, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def contents(folder: Path) -> dict[str, bytes]:
    """All files but the lock, which names a process."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
