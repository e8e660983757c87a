"""Which images a command is given: whole folders, but not what was drawn, nor what is linked."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from poised.image_list import check_pictures, has_drawn, list_images
from poised.images import ImageError


def test_linked_folders_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A link may lead anywhere, or round; linked files are listed."""
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").touch()
    (tmp_path / "here" / "linked").symlink_to(tmp_path / "there")
    (tmp_path / "here" / "b.png").symlink_to(tmp_path / "there" / "a.png")
    with caplog.at_level(logging.WARNING):
        names = [path.name for path in list_images([tmp_path / "here"])]
    assert names == ["a.png", "b.png"]
    assert f"{tmp_path / 'here' / 'linked'}: a linked folder, not searched" in caplog.text
    assert len(list_images([tmp_path / "here", tmp_path / "here" / "linked"])) == 3


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        (json.dumps({"asked": {"pictures": "limbs"}, "done": None}), True),
        (json.dumps({"asked": {"pictures": None}, "done": None}), False),
        (json.dumps({"asked": {"videos": ["a.mp4"]}, "done": None}), False),
        (json.dumps({"epochs": 3}), False),
        ("[1, 2]", False),
        ("no JSON", False),
    ],
)
def test_what_a_run_has_drawn_is_left_out(tmp_path: Path, text: str, drawn: bool) -> None:
    """And no other pictures: somebody's own run.json says nothing."""
    (tmp_path / "pictures").mkdir()
    for name in ("a.jpg", "pictures/b.jpg"):
        (tmp_path / name).touch()
    assert len(list_images([tmp_path])) == 2
    (tmp_path / "run.json").write_text(text)
    assert has_drawn(tmp_path) is drawn
    assert len(list_images([tmp_path])) == 2 - drawn
    assert len(list_images([tmp_path / "pictures"])) == 1  # asked for by name


def test_pictures_among_the_images_are_seen_through_links(tmp_path: Path) -> None:
    (tmp_path / "out" / "pictures").mkdir(parents=True)
    (tmp_path / "out" / "pictures" / "a.jpg").touch()
    (tmp_path / "same").symlink_to(tmp_path / "out" / "pictures")
    check_pictures([tmp_path / "b.jpg", tmp_path / "c.jpg"], tmp_path / "out")
    with pytest.raises(ImageError, match=r"a\.jpg: lies where the drawn pictures go"):
        check_pictures([tmp_path / "b.jpg", tmp_path / "same" / "a.jpg"], tmp_path / "out")
