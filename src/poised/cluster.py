"""The same prediction as a Ray Data job: parts of a run, done by actors on any number of machines.

A part is PART images that follow each other. As in `folder_run`, its people share network calls
with no other part's: one that a dying actor leaves, and Ray gives to another, comes out the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from poised.folder_run import PART
from poised.image_list import list_images
from poised.images import SUFFIXES, ImageError
from poised.parts import describe
from poised.predict import Predictor


def predict(
    source: str,
    output: str,
    predictor: Predictor,
    workers: int,
    cpus: int = 1,
    gpus: float = 0,
) -> int:
    """Write the poses of all images under `source` to `output` as Parquet; returns their number.

    Both are folders that all machines see under one path, or URIs (s3://bucket/folder). workers:
    actors of `cpus` and `gpus` each (0.5: two share one), of a cluster that `ray.init` has joined;
    one that dies is started again, and its part done again. Raises ValueError where there is
    something in `output` already, before the work.
    """
    import ray

    check_free(output)
    names = list_source(source)
    parts = parts_of(names)
    rows = ray.data.from_items(parts, override_num_blocks=len(parts))
    found = rows.map_batches(
        Worker,
        batch_size=1,
        fn_constructor_args=(predictor,),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts))),
        num_cpus=cpus,
        num_gpus=gpus,
    )
    found.write_parquet(output)
    return len(names)


class Worker:
    """An actor: a predictor that does part after part."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor

    def __call__(self, batch: dict[str, Any]) -> Any:
        """The table of a part: a row a person, and one for each image that was set aside."""
        import pyarrow as pa

        names, first = [str(name) for name in batch["names"][0]], int(batch["place"][0])
        rows = []
        results = self.predictor.stream(map(opened, names))
        for place, (name, result) in enumerate(zip(names, results, strict=True), first):
            line = describe(result, name)
            image = {"place": place, "file_name": name}
            if "set_aside" in line:
                rows.append(image | {"set_aside": line["set_aside"]})
            rows += [person | image for person in line.get("people", ())]
        columns = schema()
        known = [{name: row.get(name) for name in columns.names} for row in rows]
        return pa.Table.from_pylist(known, schema=columns)


def schema() -> Any:
    """The columns, said as a part may have no people: numbers as in poses.json, and `place`, the
    image's in the sorted list, from 0; `set_aside`, the reason, null for a person."""
    import pyarrow as pa

    numbers = pa.list_(pa.float64())
    image = {"place": pa.int64(), "file_name": pa.string()}
    person = {"bbox": numbers, "box_score": pa.float64(), "score": pa.float64()}
    return pa.schema(image | person | {"keypoints": numbers, "set_aside": pa.string()})


def list_source(source: str) -> list[str]:
    """The images in a folder, or under a URI, at any depth, in sorted order."""
    if "://" not in source:
        return [str(path.absolute()) for path in list_images([Path(source)])]
    from pyarrow.fs import FileSelector, FileSystem

    system, root = FileSystem.from_uri(source)
    scheme = source.partition("://")[0]
    found = (one.path for one in system.get_file_info(FileSelector(root, recursive=True)))
    images = sorted(path for path in found if Path(path).suffix.lower() in SUFFIXES)
    if not images:
        raise ImageError(f"{source}: no image under it; known: {' '.join(sorted(SUFFIXES))}")
    return [f"{scheme}://{path}" for path in images]


def parts_of(names: Sequence[str]) -> list[dict[str, Any]]:
    """Of each part the place of its first image, and its images' names."""
    return [{"place": n, "names": list(names[n : n + PART])} for n in range(0, len(names), PART)]


def opened(name: str) -> Path | bytes:
    """What `Predictor.stream` takes: a local file's path, or another's bytes."""
    if "://" not in name:
        return Path(name)
    from pyarrow.fs import FileSystem

    system, path = FileSystem.from_uri(name)
    with system.open_input_file(path) as file:
        return bytes(file.read())


def check_free(output: str) -> None:
    """Refuse a folder, or a URI, that holds files: Ray would add to them."""
    from pyarrow.fs import FileSelector, FileSystem

    place = output if "://" in output else str(Path(output).absolute())
    system, path = FileSystem.from_uri(place)
    if system.get_file_info(FileSelector(path, recursive=True, allow_not_found=True)):
        raise ValueError(
            f"{output} holds files already, perhaps of a job that failed; give another"
        )
