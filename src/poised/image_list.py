"""Files and folders as they are given -> the images in them."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import overload

from poised.images import SUFFIXES, UNREAD, ImageError

MANIFEST, PICTURES = "run.json", "pictures"  # of a run's folder, see folder_run.py
log = logging.getLogger(__name__)


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

    Each file once; videos and cameras' raw files are listed too, for `read_image` to refuse by
    name. without: a folder that is left out, such as that of the results; so are the pictures that
    runs have drawn, and linked folders, which is said aloud. Raises ImageError for a path that is
    not there, a folder that cannot be read or has no image.
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


def _files_in(folder: Path, without: Path | None) -> Iterator[Path]:
    """Files at any depth; OSError for a folder that cannot be read."""

    def stop(error: OSError) -> None:  # os.walk would pass over it in silence
        raise error

    for place, folders, files in os.walk(folder, onerror=stop):
        if without is not None:
            folders[:] = [f for f in folders if not _same(Path(place, f), without)]
        if PICTURES in folders and has_drawn(Path(place)):
            folders.remove(PICTURES)
        for name in folders:
            if os.path.islink(os.path.join(place, name)):
                linked = Path(place, name)
                log.warning("%s: a linked folder, not searched: give it by its own path", linked)
        for name in files:
            if not name.startswith("._"):
                yield Path(place, name)


def has_drawn(folder: Path) -> bool:
    """Whether the pictures in a folder are those that a run of `poised predict` has drawn."""
    try:
        notes = json.loads((folder / MANIFEST).read_bytes())
        return bool(notes["asked"]["pictures"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False


def _same(a: Path, b: Path) -> bool:
    return b.exists() and a.samefile(b)


def check_pictures(images: Sequence[Path], out: Path) -> None:
    """Raise ImageError where an image lies where the pictures of a run in `out` lie."""
    place = os.path.realpath(out / PICTURES)
    apart: set[str] = set()  # of millions of images, the folders, which are few
    for path in map(str, images):
        folder = os.path.dirname(path)
        if folder in apart:
            continue
        if os.path.realpath(folder) == place:
            raise ImageError(
                f"{path}: lies where the drawn pictures go, which could replace it; give another "
                "folder for the results (--out)"
            )
        apart.add(folder)
