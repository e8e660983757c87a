"""What a video may be called: a file, a folder of them, a camera, an address. No PyAV is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from poised.files import numbered, relative_name
from poised.images import VIDEOS

CAMERA = "camera:"


class VideoError(ValueError):
    """A video that cannot be used: names it, the reason, and what to do."""


def is_live(source: str | Path) -> bool:
    """Whether it is a camera or an address, and not a file."""
    return isinstance(source, str) and (source.startswith(CAMERA) or "://" in source)


def shown(source: str | Path) -> str:
    """A source's name for messages and results: an address without user, password and query."""
    if not is_live(source) or str(source).startswith(CAMERA):
        return str(source)
    parts = urlsplit(str(source))
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def videos_of(paths: Sequence[str], found: Sequence[Path]) -> list[str | Path] | None:
    """The videos that paths name, if they name nothing else; else None.

    found: the files among the paths, and those of their folders. Raises VideoError for live
    sources beside images.
    """
    live: list[str | Path] = [path for path in paths if is_live(path)]
    if all(path.suffix.lower() in VIDEOS for path in found):
        return [*live, *found]
    if live:
        raise VideoError(f"{shown(live[0])} is no image: give images in a command of their own")
    return None


def result_names(sources: Sequence[str | Path], folder: Path | None) -> list[str]:
    """Each source's `file_name`: of a file as seen from a folder, if one is given; else as shown.

    Raises ValueError for a file outside of the folder.
    """
    return [
        shown(source) if folder is None or is_live(source) else relative_name(Path(source), folder)
        for source in sources
    ]


def clip_names(sources: Sequence[str | Path]) -> list[str]:
    """A file name for each video's drawn copy: its own stem, numbered where that is taken."""
    return numbered(map(_stem, sources), ".mp4")


def _stem(source: str | Path) -> str:
    """Of a file its own, of a live source what a file's name can hold of what it is called."""
    if not is_live(source):
        return Path(source).stem
    name = shown(source).partition("://")[2] or str(source)
    return re.sub(r"[^\w.-]+", "-", name).strip("-")
