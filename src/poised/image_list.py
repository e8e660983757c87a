"""Files and folders as they are given -> the images in them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import overload

from poised.images import SUFFIXES, UNREAD, ImageError

MANIFEST, PICTURES = "run.json", "pictures"  # of a run's folder, see folder_run.py
BEGINS = b'{\n "asked":'  # a run's manifest, as it is written


class Paths(Sequence[Path]):
    """Paths, kept as text: a tenth of a Path's memory, where there can be millions of them."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._texts = list(dict.fromkeys(map(str, paths)))

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> list[Path]: ...

    def __getitem__(self, place: int | slice) -> Path | list[Path]:
        if isinstance(place, slice):
            return [Path(text) for text in self._texts[place]]
        return Path(self._texts[place])


def list_images(paths: Sequence[Path], without: Path | None = None) -> Paths:
    """Files as given, folders replaced by the images in them at any depth, in sorted order.

    Each file once, and each folder, linked ones too; videos and cameras' raw files are listed too,
    for `read_image` to refuse by name. without: a folder that is left out, such as that of the
    results; the pictures that runs have drawn are left out everywhere. Raises ImageError for a path
    that is not there, a folder that cannot be read or has no image.
    """
    found: list[Sequence[Path]] = []
    for path in paths:
        try:
            if not path.is_dir():
                path.stat()
                found.append([path])
                continue
            files = sorted(_files_in(path, without))
        except FileNotFoundError as error:
            raise ImageError(f"{path}: no such file or folder") from error
        except OSError as error:
            raise ImageError(
                f"{error.filename or path}: cannot be read: {error.strerror}"
            ) from error
        inside = [file for file in files if file.suffix.lower() in SUFFIXES | UNREAD.keys()]
        if not inside:
            kinds = Counter(file.suffix.lower() or "without a suffix" for file in files)
            has = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common(8)) or "no file"
            known = " ".join(sorted(SUFFIXES))
            raise ImageError(f"{path}: no image in this folder, it has {has}; known: {known}")
        found.append(Paths(inside))
    return Paths(chain.from_iterable(found))


def check_pictures(images: Sequence[Path], out: Path) -> None:
    """Raise ImageError where an image lies where the pictures of a run in `out` are written."""
    place = (out / PICTURES).resolve()
    folders = {}  # of millions of images, few
    for path in images:
        if path.parent not in folders:
            folders[path.parent] = path.parent.resolve() == place
        if folders[path.parent]:
            raise ImageError(
                f"{path}: lies where the drawn pictures go, which could replace it; give another "
                "folder for the results (--out), or --no-draw"
            )


def _files_in(folder: Path, without: Path | None) -> Iterator[Path]:
    """Files at any depth; OSError for a folder that cannot be read."""

    def stop(error: OSError) -> None:  # os.walk would pass over it in silence
        raise error

    seen: set[tuple[int, int]] = set()
    for place, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:  # linked twice, or into itself
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if without is not None:
            folders[:] = [f for f in folders if not _same(Path(place, f), without)]
        if PICTURES in folders and is_run(Path(place)):
            folders.remove(PICTURES)
        folders.sort()
        for name in files:
            if not name.startswith("._"):
                yield Path(place, name)


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run of `poised predict`, by the first words of its run.json."""
    try:
        with (folder / MANIFEST).open("rb") as file:
            return file.read(len(BEGINS)) == BEGINS
    except OSError:
        return False


def _same(a: Path, b: Path) -> bool:
    return b.exists() and a.samefile(b)
