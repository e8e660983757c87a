"""A run in shards: each its own folder, on any machine, and put together to what one run writes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from poised.files import link_or_copy, written_whole
from poised.folder_run import (
    Run,
    RunError,
    differences,
    put_together,
    read_run,
    writing,
)
from poised.image_list import PICTURES
from poised.run_forms import SHARD, Totals


def shard_folder(out: Path, shard: str) -> Path:
    """Of shard "i/n", 1 to n, in the folder that all are told; ValueError where it is none."""
    found = SHARD.fullmatch(shard)
    if found is None or int(found[1]) > int(found[2]):
        raise ValueError(f"--shard is {shard}, expected i/n: of eight 1/8, 2/8 and so on to 8/8")
    return out / f"shard-{found[1]}-of-{found[2]}"


def read_shards(folders: Sequence[Path]) -> list[Run]:
    """The shards of one run, in their order; RunError where they are not all, or not of one run."""
    found: dict[str, Run] = {}
    for folder in folders:
        run = read_run(folder)
        shard = run.asked["shard"]
        if shard is None:
            raise RunError(f"{folder} holds a whole run, no shard (--shard)")
        if shard in found:
            raise RunError(f"{folder} and {found[shard].out} are both shard {shard}")
        if run.totals is None:
            raise RunError(f"{run.kept()}: let its command go on before you merge")
        found[shard] = run
    first = next(iter(found.values()))
    for run in found.values():
        unlike = differences(whole(first), whole(run))
        if unlike:
            raise RunError(f"{first.out} and {run.out} are of two runs: {'; '.join(unlike)}")
    count = int(first.asked["shard"].split("/")[1])
    missing = [f"{n}/{count}" for n in range(1, count + 1) if f"{n}/{count}" not in found]
    if missing:
        raise RunError(f"of {count} shards there is no {', '.join(missing)}: name all folders")
    return [found[f"{n}/{count}"] for n in range(1, count + 1)]


def whole(run: Run) -> dict[str, object]:
    """What was asked of the run that a shard is one of."""
    return {**run.asked, "shard": None}


def merge(shards: Sequence[Run], run: Run) -> Totals:
    """Write a run's results, of all its shards: byte for byte as if it had not been in shards.

    run: begun in a folder that is `held`, by what was asked of the `whole`. The shards stay as
    they are; pictures are linked where the disk can, else copied.
    """
    with writing(run.out, lambda: "The shards are whole"):
        for shard in shards:
            _link_pictures(shard.out / PICTURES, run.out / PICTURES)
        lines = (line for part in run.mine for line in shards[part % len(shards)].lines(part))
        run.totals = put_together(run.out, run.asked, lines)
    run.save()
    return run.totals


def _link_pictures(source: Path, target: Path) -> None:
    """Files into another folder, each whole or not at all."""
    if not source.is_dir():
        return
    target.mkdir(exist_ok=True)
    with os.scandir(source) as pictures:
        for picture in pictures:
            if not picture.is_file(follow_symlinks=False):
                continue  # a link may lead to anything
            with written_whole(target / picture.name) as partial:
                partial.unlink(missing_ok=True)
                link_or_copy(Path(picture.path), partial)
