"""One reader fed with mutated files: what it raises, other than errors of ours, is a finding."""

from __future__ import annotations

import atexit
import json
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

import numpy as np

from fuzz.mutate import mutated_bytes, mutated_value

SLOW = 30  # seconds an input may take


@dataclass(frozen=True)
class Target:
    """A reader, and a sound file for it.

    file: the name of the file that is mutated; prepare: writes it, and what else there must be,
    into a folder; read: reads it there; what it returns must be strict JSON, if anything. value,
    data: the file's bytes as a tree of values and back, where it holds one: half of the mutations
    are of that. named: an error need not name the folder, as no file is at fault.
    """

    file: str
    prepare: Callable[[Path], None]
    read: Callable[[Path], Any]
    value: Callable[[bytes], Any] | None = None
    data: Callable[[Any], bytes] | None = None
    named: bool = True

    def mutated(self, sound: bytes, number: int) -> bytes:
        """The number-th damaged file, always the same."""
        rng = np.random.default_rng(number)
        if self.value is not None and self.data is not None and rng.random() < 0.6:
            try:
                return self.data(mutated_value(self.value(sound), rng))
            except Exception:
                pass  # no such file can be made
        return mutated_bytes(sound, rng)


class TooLongError(BaseException):
    """An input that a reader worked on for more than SLOW seconds."""


class Forerunner:
    """`in_a_process.fatal` by one process for many files: a new one for each takes a hundred times
    as long as what is tried."""

    WORK = """if True:
        import importlib, pathlib, sys
        read = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
        for line in sys.stdin:
            try:
                read(pathlib.Path(line[:-1]))
            except Exception:
                pass
            print("read", flush=True)
        """

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        atexit.register(self.stop)

    def __call__(self, read: Callable[[Path], Any], path: Path, memory: int) -> int:
        if self.process is None:
            command = [sys.executable, "-c", self.WORK, read.__module__, read.__name__]
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        process, done = self.process, False
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            done = "read\n" in iter(process.stdout.readline, "")
        finally:
            if not done:  # it died, or takes too long
                self.stop()
        return 0 if done else process.returncode

    def stop(self) -> None:
        """Wait for the process, which ends with its input, for no longer than a second."""
        process, self.process = self.process, None
        if process is not None:
            try:
                process.communicate(timeout=1)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


forerunner = Forerunner()


def try_one(target: Target, folder: Path) -> str | None:
    """What is wrong with how the file in a prepared folder is read; None where nothing is."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SLOW)
    try:
        with warnings.catch_warnings(), mock.patch("poised.openvino_model.fatal", forerunner):
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", ResourceWarning)
            json.dumps(target.read(folder), allow_nan=False)
    except (ValueError, OSError) as error:
        if type(error) in (ValueError, OSError) and "poised" not in _raised_in(error):
            return _told(error)
        said = str(error)  # of a model that answers an image with NaN its name alone is said
        if target.named and str(folder) not in said and Path(target.file).name not in said:
            return "does not name the file: " + _told(error)
        if len(str(error)) > 30_000:
            return f"an error of {len(str(error))} characters: " + _told(error)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        return _told(error)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return None


def _raised_in(error: BaseException) -> str:
    return traceback.extract_tb(error.__traceback__)[-1].filename


def _told(error: BaseException) -> str:
    """Where an error comes from, in the package's own lines, and what it says."""
    lines = traceback.extract_tb(error.__traceback__)
    own = [f"{Path(f.filename).name}:{f.lineno}" for f in lines if "/poised/" in f.filename]
    text = str(error).replace("\n", " ")[:200]
    return f"{type(error).__name__} at {' '.join(own[-3:]) or lines[-1].filename}: {text}"


def refresh(target: Target, folder: Path) -> bytes:
    """A new folder with the sound file, and that file's bytes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target.prepare(folder)
    return (folder / target.file).read_bytes()


def findings(
    target: Target, folder: Path, numbers: Iterable[int], before: Callable[[int], None]
) -> Iterable[tuple[int, str]]:
    """The numbers of the mutated files that are read wrongly, and what is wrong.

    before: called with each number when its file is written, before it is read.
    """
    sound = refresh(target, folder)
    target.read(folder)  # a sound one is taken
    refresh(target, folder)
    kept = set(folder.rglob("*"))
    for number in numbers:
        (folder / target.file).unlink()  # what a reader still maps stays as it is
        (folder / target.file).write_bytes(target.mutated(sound, number))
        before(number)
        wrong = try_one(target, folder)
        if wrong is not None:
            yield number, wrong
        if set(folder.rglob("*")) != kept:  # a reader that writes
            refresh(target, folder)
