"""A pack stands in for its data set: the same people and samples; or an error that names it."""

from __future__ import annotations

import json
import zipfile
from dataclasses import fields
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import yaml
from made import make_discs
from typer.testing import CliRunner

from poised.cli import app
from poised.datasets import DatasetError, names_of, read_people
from poised.datasets.check import check_people
from poised.datasets.pack import pack_people
from poised.images import ImageError, image_size, read_image
from poised.packs import PACK, Pack, packed
from poised.types import Skeleton


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """Somebody's own data of COCO's form: a folder in the images' one, a path that leaves it."""
    root, rng = tmp_path / "own", np.random.default_rng(0)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    names = ["images/deep/a.jpg", "images/b.png", "elsewhere/c.jpg", "images/empty.jpg"]
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (60, 90, 3), np.uint8)
        PIL.Image.fromarray(pixels).save(root / name, exif=exif)
    listed = ["deep/a.jpg", "b.png", "../elsewhere/c.jpg", "empty.jpg"]
    people = [
        {
            "id": 10 + index,
            "image_id": image,
            "category_id": 1,
            "iscrowd": int(index == 3),
            "bbox": [5.1, 6.2, 40.3, 50.4],
            "keypoints": np.column_stack([rng.uniform(5, 50, (17, 2)), rng.integers(0, 3, 17)])
            .ravel()
            .tolist(),
        }
        for index, image in enumerate((1, 1, 2, 2, 3))
    ]
    images = [{"id": i + 1, "file_name": name} for i, name in enumerate(listed)]
    values = {"images": images, "annotations": people, "categories": [{"id": 1, "name": "person"}]}
    (root / "people.json").write_text(json.dumps(values))
    return root


def test_the_people_are_the_same(own: Path, tmp_path: Path) -> None:
    assert pack_people("coco", own, "people.json", tmp_path / "pack") == (5, 3)
    assert sorted(p.name for p in (tmp_path / "pack").iterdir()) == [PACK, "people.json"]
    before, skeleton = read_people("coco", own, "people.json")
    after, theirs = read_people("coco", tmp_path / "pack", "people.json")
    assert skeleton.keypoints == theirs.keypoints
    for one, other in zip(before, after, strict=True):
        for field in fields(one):
            if field.name != "image":
                np.testing.assert_array_equal(
                    getattr(one, field.name), getattr(other, field.name), field.name
                )
        assert packed(other.image) == one.image.read_bytes()
        assert image_size(other.image, whole=True) == image_size(one.image) == (60, 90)
        np.testing.assert_array_equal(read_image(other.image), read_image(str(one.image)))
    assert not check_people(after, theirs)


def test_a_slice_is_packed_as_what_it_is_of(tmp_path: Path) -> None:
    make_discs(tmp_path / "discs", 8)
    pack_people("coco", tmp_path / "discs", "train[:3]", tmp_path / "pack")
    people = read_people("coco", tmp_path / "pack", "train")[0]
    assert len({person.image for person in people}) == 3


def test_a_pack_of_yolo_labels_names_its_joints(tmp_path: Path) -> None:
    """data.yaml is not in it: its annotation says them."""
    skeleton = str(make_discs(tmp_path / "discs", 8))
    root = tmp_path / "yolo"
    (root / "images" / "train").mkdir(parents=True)
    (root / "labels" / "train").mkdir(parents=True)
    names = Skeleton.load(skeleton).keypoints
    values = {"train": "images/train", "val": "images/train", "names": ["person"]}
    values |= {"kpt_shape": [len(names), 3], "kpt_names": {0: list(names)}}
    (root / "data.yaml").write_text(yaml.safe_dump(values))
    PIL.Image.new("RGB", (80, 60)).save(root / "images" / "train" / "a.png")
    row = "0 0.5 0.5 0.5 0.5 " + " ".join(["0.4 0.5 2"] * len(names))
    (root / "labels" / "train" / "a.txt").write_text(row + "\n")
    pack_people("yolo", root, "train", tmp_path / "pack")
    found = Skeleton.load(names_of("yolo", tmp_path / "pack", "train"))
    assert found.keypoints == Skeleton.load(names_of("yolo", root, "train")).keypoints


def test_any_unzip_gives_the_files_back(own: Path, tmp_path: Path) -> None:
    pack_people("coco", own, "people.json", tmp_path / "pack")
    with zipfile.ZipFile(tmp_path / "pack" / PACK) as archive:
        assert archive.namelist() == ["deep/a.jpg", "b.png", "3-c.jpg"]
        assert archive.read("deep/a.jpg") == (own / "images/deep/a.jpg").read_bytes()


@pytest.mark.parametrize(
    ("dataset", "folder", "split", "recipe"),
    [
        ("coco", "coco", "train2017", "coco17"),
        ("mpii", "mpii", "test_mpii", "efafnet-mpii"),
        ("crowdpose", "crowdpose", "test_crowdpose.json", "efafnet-crowdpose"),
        ("lspet", "lspet", "test", "lsp14"),
    ],
)
def test_training_draws_the_same_samples(
    shared: Path, tmp_path: Path, dataset: str, folder: str, split: str, recipe: str
) -> None:
    """Bit for bit, of any data set by its own name: each tensor of each sample."""
    torch = pytest.importorskip("torch", reason="needs poised[train]")
    from poised.datasets.training import open_samples
    from poised.read_recipe import load_recipe

    root = shared / "data" / folder
    pack_people(dataset, root, split, tmp_path / "pack")
    changes = [
        f"dataset.train={split}",
        "dataset.also=[]",
        "augment.patch=0.5",
        "augment.colour=0.2",
    ]
    files, pack = (
        open_samples(load_recipe(recipe, [*changes, "target.model=null", f"dataset.root={place}"]))
        for place in (root, tmp_path / "pack")
    )
    assert len(files) == len(pack)
    for index in range(min(12, len(files))):
        for one, other in zip(files[(3, index)], pack[(3, index)], strict=True):
            assert torch.equal(one, other)


def test_a_damaged_pack_is_named(own: Path, tmp_path: Path) -> None:
    pack_people("coco", own, "people.json", tmp_path / "pack")
    whole = (tmp_path / "pack" / PACK).read_bytes()
    first = (own / "images/deep/a.jpg").read_bytes()
    middle = whole.index(first) + len(first) // 2
    flipped = bytes([*whole[:middle], whole[middle] ^ 1, *whole[middle + 1 :]])
    for name, data in (("flipped", flipped), ("cut", whole[:-30]), ("empty", b"")):
        (tmp_path / name).mkdir()
        (tmp_path / name / PACK).write_bytes(data)
        (tmp_path / name / "people.json").write_bytes((tmp_path / "pack/people.json").read_bytes())
    people, _ = read_people("coco", tmp_path / "flipped", "people.json")
    with pytest.raises(ImageError, match=r"flipped.images\.pack: deep/a\.jpg in it is damaged"):
        read_image(people[0].image)
    assert image_size(people[0].image) == "broken image"
    assert read_image(people[2].image).shape == (90, 60, 3)  # the others are whole
    for name in ("cut", "empty"):
        with pytest.raises(DatasetError, match=rf"{name}.images\.pack: damaged or cut short"):
            read_people("coco", tmp_path / name, "people.json")


def test_a_file_that_a_pack_lacks_is_named(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    pack_people("coco", own, "people.json", out)
    with pytest.raises(ImageError, match=r"none\.jpg: no such file"):
        read_image(out / PACK / "none.jpg")
    assert image_size(out / PACK / "none.jpg") == "missing image"
    (out / "people.json").write_text((out / "people.json").read_text().replace("b.png", "d.png"))
    with pytest.raises(DatasetError, match=r"images\.pack: has no d\.png"):
        read_people("coco", out, "people.json")


def test_a_name_that_is_not_text_is_no_packs(tmp_path: Path) -> None:
    """A file's name says that it is UTF-8, and is not."""
    with zipfile.ZipFile(tmp_path / PACK, "w") as archive:
        archive.writestr("\u00e9.jpg", bytes(10))
    data = (tmp_path / PACK).read_bytes().replace("\u00e9".encode(), b"\xe9\x28")
    (tmp_path / PACK).write_bytes(data)
    with pytest.raises(ValueError, match=r"images\.pack: damaged or cut short"):
        Pack(tmp_path / PACK)


def test_compressed_files_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / PACK, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(1000))
    with pytest.raises(ValueError, match="are compressed, and a pack's are stored"):
        Pack(tmp_path / PACK)


def test_a_folder_of_that_name_is_no_pack(tmp_path: Path) -> None:
    (tmp_path / PACK).mkdir()
    PIL.Image.new("RGB", (3, 2)).save(tmp_path / PACK / "a.png")
    assert read_image(tmp_path / PACK / "a.png").shape == (2, 3, 3)


def test_a_pack_is_written_whole_or_not_at_all(own: Path, tmp_path: Path) -> None:
    """A missing image is named; the next attempt is not in the way of what a kill left."""
    (own / "elsewhere/c.jpg").rename(own / "away.jpg")
    with pytest.raises(ImageError, match=r"elsewhere.c\.jpg: no such file"):
        pack_people("coco", own, "people.json", tmp_path / "packs" / "one")
    assert not list((tmp_path / "packs").iterdir())
    (own / "away.jpg").rename(own / "elsewhere/c.jpg")
    (tmp_path / "packs" / "one.part").mkdir()
    pack_people("coco", own, "people.json", tmp_path / "packs" / "one")
    assert [p.name for p in (tmp_path / "packs").iterdir()] == ["one"]


def test_the_command_packs_and_does_not_write_over(own: Path, tmp_path: Path) -> None:
    out = tmp_path / "pack"
    of = ["--dataset", "coco", "--split", "people.json"]
    arguments = ["data", "pack", str(own), "--out", str(out), *of]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "5 people in 3 images, 0 MB" in result.output
    result = CliRunner().invoke(app, ["data", "check", str(out), *of])
    assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "exists already" in result.output
