"""Which videos the results in a folder are of: another command writes nothing over."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from poised.files import moved_aside, write_text
from poised.folder_run import ALL, RunError, check_free, check_same, differences, writing
from poised.image_list import MANIFEST, PICTURES, has_drawn
from poised.reading import json_text, read_json
from poised.video_results import WRITERS
from poised.video_sources import VideoError, is_live


def begin_videos(
    out: Path,
    sources: Sequence[str | Path],
    asked: Mapping[str, Any],
    restart: bool = False,
) -> None:
    """Write out/run.json of videos, in a folder that is held.

    asked: all that the results depend on, with the results' `format` and `copies`, the names of
    the drawn videos in `out`. The same command again writes over its own results, but for those of
    live sources, which do not come again. restart: what is there goes into out/earlier-1 (-2, ...).

    Raises VideoError where an input would be written over or put away, RunError where the folder
    holds another run, or a file of the names to be written.
    """
    asked = json.loads(json_text(asked))  # as it is read again: no tuples
    manifest, copies = out / MANIFEST, asked["copies"]
    _no_input(out, copies, sources)
    there = _asked_before(manifest)
    if restart:
        old = [name for name in (there or {}).get("copies", []) if Path(name).name == name]
        own = [name for name in ALL if name != PICTURES or has_drawn(out)]
        names = dict.fromkeys([*own, *(f"poses.{style}" for style in WRITERS), *old, *copies])
        _no_input(out, names, sources)
        with writing(out):
            moved_aside(out, names)
    elif there is not None:
        unlike = differences(there, asked)
        if any(map(is_live, sources)):
            unlike = [*unlike, "a live source was recorded there"]
        check_same(out, unlike)
    else:
        check_free(out, [f"poses.{asked['format']}", "skeleton.json", *copies])
    with writing(out):
        write_text(manifest, json_text({"asked": asked, "done": None}, indent=1) + "\n")


def _asked_before(manifest: Path) -> dict[str, Any] | None:
    """What a folder's run was asked; None where there is none. RunError for a damaged manifest."""
    if not manifest.is_file():
        return None
    notes = read_json(manifest, RunError)
    asked = notes.get("asked") if isinstance(notes, dict) else None
    if not isinstance(asked, dict):
        raise RunError(f"{manifest} is damaged; choose another folder (--out OTHER)")
    return asked


def _no_input(out: Path, names: Iterable[str], sources: Sequence[str | Path]) -> None:
    """Raise VideoError where a file or folder of the names is an input, or has one in it."""
    inputs = [Path(source).resolve() for source in sources if not is_live(source)]
    for name in names:
        place = (out / name).resolve()
        if any(place == path or place in path.parents for path in inputs):
            raise VideoError(f"{out / name}: is an input; give another folder for the results")
