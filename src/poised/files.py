"""Files that are written whole or not at all, and one that a process holds."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


LONGEST = 200  # characters of a stem in `numbered`
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of a disk, a quota, a limit on files' sizes
SHUT = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)


def sha256(path: Path) -> str:
    """Of a file's bytes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sync(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, would outlast a power cut."""
    if path.is_dir() and sys.platform == "win32":
        return  # its folders cannot be opened
    file = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(file)
    except OSError as error:
        if path.is_file() or error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise  # some systems of files over a network know no such thing for a folder
    finally:
        os.close(file)


@contextmanager
def written_whole(path: Path, durable: bool = False) -> Iterator[Path]:
    """A file to write to beside `path`: moved there where the block ends well, else removed.

    durable: a power cut, too, leaves all of it or nothing. A link under either name is replaced,
    not followed: the folder may come from somebody else.
    """
    partial = path.with_name(path.name + ".part")
    try:
        unlink_link(partial)
        yield partial
        if durable:
            sync(partial)
        os.replace(partial, path)
        if durable:
            sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def folder_written_whole(path: Path) -> Iterator[Path]:
    """A new folder to fill beside `path`: moved there where the block ends well, else removed."""
    partial = path.with_name(path.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
    partial.mkdir(parents=True)
    try:
        yield partial
        os.rename(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def unlink_link(path: Path) -> None:
    """Remove a link, so that what is written under its name does not go where it leads."""
    if path.is_symlink():
        path.unlink()


def unlinked(path: str, flags: int) -> int:
    """An `opener` for `open` that refuses a link, which may lead out of the folder."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


def write_bytes(path: Path, data: bytes, durable: bool = False) -> None:
    """Write a file, whole or not at all; its folder is made where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path, durable) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """As `write_bytes`, in UTF-8."""
    write_bytes(path, text.encode("utf-8"), durable)


def relative_name(path: Path, folder: Path) -> str:
    """What a path is called from a folder, with / between; links are not followed.

    Raises ValueError for a path outside of the folder.
    """
    start, whole = Path(os.path.abspath(folder)), Path(os.path.abspath(path))
    if not whole.is_relative_to(start):
        raise ValueError(f"{path} does not lie in {folder}, which names are to be relative to")
    return whole.relative_to(start).as_posix()


def link_or_copy(source: Path, target: Path) -> None:
    """One file's bytes under a second name: linked where the disk can, else copied."""
    try:
        os.link(source, target)
    except OSError:  # another disk, or one that has no links
        shutil.copyfile(source, target)


def moved_aside(folder: Path, names: Iterable[str]) -> Path | None:
    """Move what is there of `names` into folder/earlier-1 (-2, ...), in this order; that folder.

    None where there is nothing to move.
    """
    found = [folder / name for name in names if os.path.lexists(folder / name)]
    if not found:
        return None
    aside = next(path for n in count(1) if not (path := folder / f"earlier-{n}").exists())
    aside.mkdir()
    for path in found:
        os.replace(path, aside / path.name)
    return aside


def numbered(stems: Iterable[str], end: str) -> list[str]:
    """A file name for each stem, at most LONGEST characters of it: numbered where it is taken."""
    taken: set[str] = set()
    last: dict[str, int] = {}  # number of each stem
    names = []
    for whole in stems:
        stem = whole[:LONGEST]
        count = last.get(stem, 1)
        name = f"{stem}{end}" if count == 1 else f"{stem}-{count}{end}"
        while name.casefold() in taken:  # some file systems do not tell A from a
            count += 1
            name = f"{stem}-{count}{end}"
        last[stem] = count
        taken.add(name.casefold())
        names.append(name)
    return names


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file against other processes; it names its holder, and stays when it is let go.

    The lock is the system's: it ends with the process, however that ends, and its children (which
    may outlive it by seconds) do not inherit it. Raises BlockingIOError that names the holder.
    """
    with open(path, "a+", encoding="utf-8", opener=unlinked) as file:
        try:
            _lock(file.fileno())
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            file.seek(0)
            raise BlockingIOError(f"{path.parent} is in use: {file.read()} holds {path}") from error
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def _lock(file: int) -> None:
    """Lock a byte far behind the text: on Windows nobody else may read a locked one."""
    os.lseek(file, 1 << 30, os.SEEK_SET)
    if sys.platform == "win32":
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0, os.SEEK_CUR)
