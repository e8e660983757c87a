"""Packs: many images in one file, for disks and networks that are slow with many small ones.

A pack is a zip file, called images.pack, that stores the images' files as they are. A path that
goes on behind it, FOLDER/images.pack/im00001.jpg, is an image in it, and `images` reads it as it
reads a file. It is read through a memory map, which any number of processes share.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zlib import crc32

PACK = "images.pack"
HEADER = 30  # bytes before a member's name; the last four are the lengths of name and extra field


def write_pack(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, file's bytes) in that order; equal members make equal packs."""
    with ZipFile(path, "w", ZIP_STORED) as pack:
        for name, data in members:
            pack.writestr(ZipInfo(name), data)


def packed(path: Path) -> bytes | None:
    """The bytes of a file in a pack; None where the path does not lead through one.

    Raises FileNotFoundError where the pack has no such file, ValueError where it is damaged.
    """
    if PACK not in path.parts:
        return None
    place = path.parts.index(PACK) + 1
    pack = Path(*path.parts[:place])
    return open_pack(pack).read("/".join(path.parts[place:])) if pack.is_file() else None


@lru_cache
def open_pack(path: Path) -> Pack:
    """A pack, opened once a process."""
    return Pack(path)


class Pack:
    """A memory-mapped pack. Raises ValueError where it is cut short or no zip of stored files."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            try:
                members = ZipFile(file).infolist()
            except (BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
                raise ValueError(f"{path}: damaged or cut short: {error}; copy it anew") from error
            self.memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if any(member.compress_type != ZIP_STORED for member in members):
            raise ValueError(f"{path}: its files are compressed, and a pack's are stored (zip -0)")
        self.members = {m.filename: (m.header_offset, m.file_size, m.CRC) for m in members}

    def read(self, name: str) -> bytes:
        """A file's bytes, found to be as they were packed."""
        if name not in self.members:
            raise FileNotFoundError(f"{self.path}: has no {name}")
        start, size, checksum = self.members[name]
        lengths = self.memory[start + HEADER - 4 : start + HEADER]
        start += HEADER + sum(int.from_bytes(n, "little") for n in (lengths[:2], lengths[2:]))
        data = self.memory[start : start + size]
        if crc32(data) != checksum:
            raise ValueError(f"{self.path}: {name} in it is damaged; copy it anew")
        return data
