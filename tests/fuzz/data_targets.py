"""Readers of annotations, boxes, results, evaluations, images, packs and runs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from made import make_discs
from PIL import Image

from fuzz.trial import Target
from poised.types import Skeleton


def json_value(data: bytes) -> Any:
    return json.loads(data)


def json_data(value: Any) -> bytes:
    return json.dumps(value).encode()


def json_lines(data: bytes) -> Any:
    return [json.loads(line) for line in data.splitlines()]


def json_lines_data(value: Any) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in value)


def yaml_value(data: bytes) -> Any:
    return yaml.safe_load(data)


def yaml_data(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False).encode()


def table_value(data: bytes) -> Any:
    return list(csv.reader(io.StringIO(data.decode())))


def table_data(value: Any) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(value)
    return text.getvalue().encode()


def words_value(data: bytes) -> Any:
    return [line.split() for line in data.decode().splitlines()]


def words_data(value: Any) -> bytes:
    return "\n".join(" ".join(map(str, line)) for line in value).encode()


def discs(folder: Path) -> None:
    make_discs(folder, 8)


DISCS = "annotations/person_keypoints_train.json"


def read_set(dataset: str, part: str, skeleton: str | None, root: Path) -> Any:
    """Read, and put into COCO's form, as `data convert` does."""
    from poised.datasets import as_coco
    from poised.datasets.check import check_people

    named = None if skeleton is None else str(root / skeleton)
    people, values = as_coco(dataset, root, part, named)
    usual = {"flic": "flic", "mpii": "mpii16"}.get(dataset, "lsp14")
    check_people(people, Skeleton.load(named or usual))
    return values


def read_coco(folder: Path) -> Any:
    from poised.datasets import as_coco

    return as_coco("coco", folder, "train")[1]


def score_truth(folder: Path) -> Any:
    """Annotations given to the evaluator, as the results of themselves."""
    from poised.datasets import read_with_truth
    from poised.metrics.evaluation import score_results

    people, skeleton, truth, _ = read_with_truth("coco", folder, "train")
    found = [
        {k: a[k] for k in ("image_id", "category_id", "keypoints", "bbox")} | {"score": 0.5}
        for a in truth["annotations"]
    ]
    everything = list(range(len(skeleton)))
    done = score_results("coco", skeleton, truth, people, found, {}, everything)
    return done.as_dict()


def write_results(folder: Path) -> None:
    discs(folder)
    rows = json.loads((folder / DISCS).read_text())["annotations"]
    found = [{k: row[k] for k in ("image_id", "keypoints", "bbox")} for row in rows]
    found = [row | {"category_id": 1, "score": 0.5 + n / 100} for n, row in enumerate(found)]
    (folder / "results.json").write_text(json.dumps(found))


def read_results(folder: Path) -> Any:
    from poised.evaluate import evaluate_results

    done = evaluate_results(folder / "results.json", "coco", folder, "train")
    return done.as_dict()


def write_boxes(folder: Path) -> None:
    rows = [{"file_name": f"{n}.png", "bbox": [1, 2.5, 30, 40], "score": 0.5} for n in range(3)]
    (folder / "boxes.json").write_text(json.dumps(rows))


def read_boxes(folder: Path) -> Any:
    from poised.boxes import files

    path = folder / "boxes.json"
    images = [folder / f"{n}.png" for n in range(3)]
    found = files.boxes_of(files.read_boxes(path), images, path)
    return [boxes.xywh.tolist() for boxes in found.values()]


def write_evaluation(folder: Path) -> None:
    samples = {"image": [1, 1, 2, 3], "scored": [1, 0.5, 0, 2], "possible": [1, 1, 3, 2]}
    protocol = {"poised": "1", "dataset": "coco", "split": "val", "boxes": "truth", "sigmas": "x"}
    values = {"figures": {"AP": 50.0, "AR": None}, "protocol": protocol, "samples": samples}
    for name in ("first.json", "second.json"):
        (folder / name).write_text(json.dumps(values))


def compare(first: bool, folder: Path) -> Any:
    from typer.testing import CliRunner

    from poised.cli import app
    from poised.compare import compare

    paths = [folder / "first.json", folder / "second.json"]
    compare(paths[:: 1 if first else -1], anyway=True)
    result = CliRunner().invoke(app, ["compare", *map(str, paths), "--anyway"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception


def write_set(dataset: str, folder: Path) -> None:
    """Three people in the original form of a data set."""
    from poised.datasets import Person
    from poised.datasets.write import WRITERS

    names = Skeleton.load({"flic": "flic", "mpii": "mpii16"}.get(dataset, "lsp14"))
    rng = np.random.default_rng(0)
    people = []
    for number in (1, 2, 3):
        xy = rng.uniform(10, 90, (len(names), 2)).round(3)
        image = folder / "images" / f"im{number:0{4 if dataset == 'lsp' else 5}d}.jpg"
        seen = np.ones(len(names), bool)
        people.append(Person(image, np.array([0.0, 0, 90, 90]), xy, seen, image_id=number))
    file = {"flic": "examples.mat", "mpii": "train.json"}.get(dataset, "joints.mat")
    (folder / file).write_bytes(WRITERS[dataset](people, True))


def write_mpii_mat(folder: Path) -> None:
    from scipy.io import savemat

    point = {"x": 11.0, "y": 21.0, "id": 9, "is_visible": "1"}
    head = {"x1": 1.0, "y1": 1.0, "x2": 31.0, "y2": 41.0}
    person = {**head, "scale": 2.0, "objpos": {"x": 101.0, "y": 51.0}}
    people = [{**person, "annopoints": {"point": [point, point]}}, {**person, "annopoints": []}]
    images = [{"image": {"name": f"{n}.jpg"}, "annorect": people} for n in "ab"]
    values = {"RELEASE": {"annolist": images, "img_train": [1, 0]}}
    savemat(folder / "mpii_human_pose_v1_u12_1.mat", values)


def write_yolo(folder: Path) -> None:
    discs(folder)
    for place in ("images/train", "labels/train"):
        (folder / place).mkdir(parents=True)
    for number in range(2):
        shutil.copy(folder / "images" / f"{number}.png", folder / "images/train")
        points = "0.3 0.4 2 0.5 0.5 1 0 0 0"
        (folder / f"labels/train/{number}.txt").write_text(f"0 0.5 0.5 0.8 0.8 {points}\n" * 2)
    (folder / "data.yaml").write_text(
        "path: .\ntrain: images/train\nkpt_shape: [3, 3]\nflip_idx: [0, 2, 1]\nnames: {0: person}\n"
        "kpt_names: {0: [head, left_hand, right_hand]}\n"
    )


def write_deeplabcut(folder: Path) -> None:
    place = folder / "labeled-data" / "walk"
    place.mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(place / "img1.png")
    (place / "CollectedData_me.csv").write_text(
        "scorer,me,me,me,me\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
        "labeled-data/walk/img1.png,10.5,20,30,40.25\nlabeled-data/walk/img1.png,1,2,,\n"
    )


def write_skeleton(folder: Path) -> None:
    text = yaml.safe_dump(Skeleton.load("lsp14").to_dict(), sort_keys=False)
    (folder / "mine.yaml").write_text(text)


def read_skeleton(folder: Path) -> Any:
    skeleton = Skeleton.load(folder / "mine.yaml")
    skeleton.flip_order.tolist()
    return skeleton.to_dict()


def write_pack(folder: Path) -> None:
    from poised.datasets.pack import pack_people

    discs(folder / "from")
    pack_people("coco", folder / "from", "train", folder / "to")
    shutil.rmtree(folder / "from")


def read_pack(folder: Path) -> None:
    from poised.datasets import read_people
    from poised.images import ImageError, read_image
    from poised.packs import open_pack

    open_pack.cache_clear()  # else the file that was there before is read
    people, _ = read_people("coco", folder / "to", "train")
    for person in people:
        try:
            read_image(person.image)
        except ImageError as error:
            if str(folder) not in str(error):
                raise


def asked(folder: Path) -> dict[str, Any]:
    from poised.folder_run import describe_images

    skeleton = Skeleton.load("lsp14").to_dict()
    images = [folder / f"{n}.png" for n in range(3)]
    return {"skeleton": skeleton, "format": "coco"} | describe_images(images)


def write_run(folder: Path) -> None:
    from poised.folder_run import begin

    run = begin(folder / "out", asked(folder))
    one = {"bbox": [1.0, 2, 3, 4], "box_score": 0.5, "score": 0.5, "keypoints": [1.0] * 42}
    record = {"file_name": "a", "image_id": 0, "category_id": 1} | one
    lines = [
        {"file_name": "0.png", "people": [record, record], "left_out": 1},
        {"file_name": "1.png", "set_aside": "broken image"},
        {"file_name": "2.png", "people": [], "left_out": 0, "undrawn": "why"},
    ]
    run.keep(0, lines, [])


def read_run(folder: Path) -> Any:
    from poised.folder_run import RunError, begin, read_run
    from poised.shards import read_shards

    run = read_run(folder / "out")
    found = [run.left(), run.kept()]
    try:
        read_shards([folder / "out"])
    except RunError as error:
        if str(folder) not in str(error):
            raise
    begin(folder / "out", asked(folder))
    return found


def finish_run(folder: Path) -> Any:
    from poised.folder_run import read_run

    run = read_run(folder / "out")
    run.finish()
    return json.loads((folder / "out" / "poses.json").read_text())


def write_shards(folder: Path) -> None:
    """Three images in two shards of a part each, both done."""
    from poised.folder_run import begin

    nobody = {"people": [], "left_out": 0}
    for number, shard in enumerate(("1/2", "2/2")):
        run = begin(folder / f"out-{number}", asked(folder) | {"shard": shard, "part": 2})
        for part in run.mine:
            run.keep(part, [{"file_name": f"{n}.png", **nobody} for n in run.places(part)], [])
        run.finish()


def merge_shards(folder: Path) -> Any:
    from poised.folder_run import begin, held
    from poised.shards import merge, read_shards, whole

    shards = read_shards([folder / "out-0", folder / "out-1"])
    with held(folder / "all"):
        merge(shards, begin(folder / "all", whole(shards[0])))
    return json.loads((folder / "all" / "poses.json").read_text())


def write_saved(style: Any, folder: Path) -> None:
    from poised.results import ResultWriter
    from poised.types import Boxes, ImagePoses

    Image.new("RGB", (64, 48)).save(folder / "a.png")
    names = Skeleton.load("lsp14")
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 40, (2, 14, 2)).round(2)
    boxes = Boxes([[1, 2, 30, 40], [5, 5, 20, 20]], [0.5, 0.75])  # type: ignore[arg-type]
    one = ImagePoses("a.png", (64, 48), names, boxes, xy, np.full((2, 14), 0.5), np.ones(2))
    with ResultWriter(folder, names, style) as results:
        results.write(one)


def read_saved(file: str, folder: Path) -> Any:
    """Poses for other tools, as `convert` writes them."""
    from poised.interop.label_studio import to_label_studio
    from poised.interop.saved import read_saved
    from poised.interop.yolo import write_yolo

    found = read_saved(folder / file, folder)
    if found:
        write_yolo(found, folder / "yolo", 0.5, folder)
        shutil.rmtree(folder / "yolo")
    return to_label_studio(found, 0.5, "/")


def write_image(kind: str, folder: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(folder / f"a.{kind}", exif=exif)


def read_image(kind: str, folder: Path) -> None:
    from poised.images import Undecoded, image_size, read_image

    image_size(folder / f"a.{kind}", whole=True)
    read_image(folder / f"a.{kind}")
    Undecoded(folder / f"a.{kind}").decode(2.0)


def write_clip(folder: Path) -> None:
    from clips import moving_square, write_clip

    write_clip(folder / "a.mp4", [moving_square(n) for n in range(4)], (0, 20, 41, 60))


def read_clip(folder: Path) -> None:
    from poised.video import Clip

    with Clip(folder / "a.mp4") as clip:
        for frame in clip:
            assert frame.image.ndim == 3
            if frame.index > 30:
                break


Read = Callable[[Path], Any]


def of_json(file: str, prepare: Callable[[Path], None], read: Read) -> Target:
    return Target(file, prepare, read, json_value, json_data)


def of_mat(dataset: str, file: str = "joints.mat", part: str = "train") -> Target:
    return Target(file, partial(write_set, dataset), partial(read_set, dataset, part, None))


DATA_TARGETS: dict[str, Target] = {
    "boxes": of_json("boxes.json", write_boxes, read_boxes),
    "coco": of_json(DISCS, discs, read_coco),
    "coco-scored": of_json(DISCS, discs, score_truth),
    "compare-first": of_json("first.json", write_evaluation, partial(compare, True)),
    "compare-second": of_json("second.json", write_evaluation, partial(compare, False)),
    "deeplabcut": Target(
        "labeled-data/walk/CollectedData_me.csv",
        write_deeplabcut,
        partial(read_set, "deeplabcut", "all", "labeled-data/walk/CollectedData_me.csv"),
        table_value,
        table_data,
    ),
    **{
        f"image-{kind}": Target(f"a.{kind}", partial(write_image, kind), partial(read_image, kind))
        for kind in ("avif", "bmp", "gif", "jpg", "png", "tiff", "webp")
    },
    "mat-flic": of_mat("flic", "examples.mat"),
    "mat-lsp": of_mat("lsp"),
    "mat-lspet": of_mat("lspet", part="all"),
    "mat-mpii": Target(
        "mpii_human_pose_v1_u12_1.mat",
        write_mpii_mat,
        partial(read_set, "mpii", "matlab-train", None),
    ),
    "mpii": of_json(
        "train.json", partial(write_set, "mpii"), partial(read_set, "mpii", "train", None)
    ),
    "pack": Target("to/images.pack", write_pack, read_pack),
    "results": of_json("results.json", write_results, read_results),
    "run": of_json("out/run.json", write_run, read_run),
    "run-part": Target(
        "out/poses.parts/000000.jsonl", write_run, finish_run, json_lines, json_lines_data
    ),
    "saved": of_json("poses.json", partial(write_saved, "coco"), partial(read_saved, "poses.json")),
    "saved-lines": Target(
        "poses.jsonl",
        partial(write_saved, "jsonl"),
        partial(read_saved, "poses.jsonl"),
        json_lines,
        json_lines_data,
    ),
    "saved-skeleton": of_json(
        "skeleton.json", partial(write_saved, "coco"), partial(read_saved, "poses.json")
    ),
    "shards": of_json("out-0/run.json", write_shards, merge_shards),
    "skeleton": Target("mine.yaml", write_skeleton, read_skeleton, yaml_value, yaml_data),
    "video": Target("a.mp4", write_clip, read_clip),
    "yolo": Target(
        "data.yaml",
        write_yolo,
        partial(read_set, "yolo", "train", "data.yaml"),
        yaml_value,
        yaml_data,
    ),
    "yolo-labels": Target(
        "labels/train/0.txt",
        write_yolo,
        partial(read_set, "yolo", "train", "data.yaml"),
        words_value,
        words_data,
    ),
}
