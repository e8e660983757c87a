"""Which videos the results in a folder are of: another command writes nothing over."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from poised.files import moved_aside, write_text
from poised.folder_run import ALL, RunError, differences, writing
from poised.image_list import MANIFEST
from poised.reading import json_text, read_json
from poised.video_results import VideoFormat
from poised.video_sources import VideoError, is_live


def begin_videos(
    out: Path,
    sources: Sequence[str | Path],
    called: Sequence[str],
    style: VideoFormat,
    copies: Sequence[str],
    restart: bool = False,
) -> None:
    """Write out/run.json of videos, in a folder that is held.

    called: the sources' names in the results; copies: the drawn ones' names in `out`. The same
    command again writes over its own results. Raises VideoError where a copy would replace an
    input, RunError where the folder holds another run, or a file of the names to be written;
    restart: what is there goes into out/earlier-1 (-2, ...).
    """
    inputs = [Path(source) for source in sources if not is_live(source)]
    inputs = [path for path in inputs if path.exists()]
    for name in copies:
        copy = out / name
        if copy.exists() and any(copy.samefile(path) for path in inputs):
            raise VideoError(f"{copy}: is an input; give another folder for the results")
    asked = {"videos": list(called), "format": style, "copies": list(copies)}
    manifest = out / MANIFEST
    if restart:
        with writing(out):
            moved_aside(out, dict.fromkeys((*ALL, f"poses.{style}", *copies)))
    elif manifest.is_file():
        notes = read_json(manifest, RunError)
        there = notes.get("asked") if isinstance(notes, dict) else None
        unlike = differences(there, asked) if isinstance(there, dict) else ["damaged"]
        if unlike:
            raise RunError(
                f"{out} holds another run: {'; '.join(unlike)}. Write to another folder "
                "(--out OTHER), or begin anew in this one (--restart)."
            )
    else:
        names = [f"poses.{style}", *copies]
        found = [out / name for name in names if (out / name).exists()]
        if found:
            raise RunError(
                f"{found[0]} is there already: write to another folder (--out OTHER), or let "
                "--restart put it into earlier-1"
            )
    with writing(out):
        write_text(manifest, json_text({"asked": asked, "done": None}, indent=1) + "\n")
