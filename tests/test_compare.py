"""Runs side by side: intervals with a known answer, and protocols that may not be mixed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from poised.cli import app
from poised.compare import CompareError, compare


def write(path: Path, scored: list[float], images: list[int] | None = None, **protocol) -> Path:
    samples = {"image": images or list(range(len(scored)))}
    samples |= {"scored": scored, "possible": [1.0] * len(scored)}
    protocol = {"dataset": "coco", "flip": True, "model": path.stem, **protocol}
    figures = {"AP": 100 * float(np.mean(scored))}
    path.write_text(json.dumps({"figures": figures, "protocol": protocol, "samples": samples}))
    return path


def test_the_interval_is_that_of_paired_differences(tmp_path: Path) -> None:
    """A gain of 10 points on every image is certain; of 20 points on half of 400 it is 10 +- 2."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 0.8, 400)
    first = write(tmp_path / "a.json", base.tolist())
    sure = write(tmp_path / "b.json", (base + 0.1).tolist())
    half = write(tmp_path / "c.json", (base + 0.2 * (np.arange(400) % 2)).tolist())
    same, certain, mixed = compare([first, sure, half])
    assert (same.low, same.high) == (0, 0)
    assert (certain.low, certain.high) == pytest.approx((10, 10))
    spread = 1.96 * 10 / np.sqrt(400)  # the differences are 0 or 20: standard deviation 10
    assert (mixed.low, mixed.high) == pytest.approx((10 - spread, 10 + spread), abs=0.15)
    assert mixed.share == pytest.approx(same.share + 10)


def test_a_runs_own_interval_is_that_of_its_images(tmp_path: Path) -> None:
    """Points of 0 and 1 on 400 images: standard deviation 50, so 50 +- 1.96 x 50 / 20."""
    one = write(tmp_path / "a.json", (np.arange(400) % 2).tolist())
    (alone,) = compare([one])
    assert alone.own == pytest.approx((50 - 4.9, 50 + 4.9), abs=0.5)
    shown = CliRunner().invoke(app, ["compare", str(one)]).output
    assert f"{alone.own[0]:.1f} to {alone.own[1]:.1f}" in shown


def test_images_are_drawn_whole(tmp_path: Path) -> None:
    """Ten people of one image always come together: no interval at all."""
    images = [1] * 10
    first = write(tmp_path / "a.json", [0.0] * 10, images)
    second = write(tmp_path / "b.json", [1.0] * 5 + [0.0] * 5, images)
    assert compare([first, second])[1].low == compare([first, second])[1].high == 50


def test_unlike_protocols_are_refused_by_name(tmp_path: Path) -> None:
    first, second = (
        write(tmp_path / "a.json", [0.5, 1.0]),
        write(tmp_path / "b.json", [0.5, 1.0], flip=False, boxes="detector"),
    )
    with pytest.raises(CompareError, match=r"boxes: None and 'detector'; flip: True and False"):
        compare([first, second])
    assert set(compare([first, second], anyway=True)[1].unlike) == {"boxes", "flip"}
    result = CliRunner().invoke(app, ["compare", str(first), str(second)])
    assert result.exit_code == 2
    assert "were not measured alike" in result.output
    said = " ".join(result.output.split())
    assert "(None: unknown of a results file; score both by --predictions); --anyway" in said
    result = CliRunner().invoke(app, ["compare", str(first), str(second), "--anyway"])
    assert result.exit_code == 0
    assert "differs in flip: True and False" in result.output


def test_files_that_cannot_be_compared_are_named(tmp_path: Path) -> None:
    first = write(tmp_path / "a.json", [0.5])
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(CompareError, match=r"b\.json: `poised evaluate --out` did not write this"):
        compare([first, tmp_path / "b.json"])
    (tmp_path / "b.json").write_text("{")
    with pytest.raises(CompareError, match="not JSON, or cut short"):
        compare([first, tmp_path / "b.json"])
    with pytest.raises(CompareError, match="no such file"):
        compare([tmp_path / "c.json"])
    with pytest.raises(CompareError, match="no image in common"):
        compare([first, write(tmp_path / "d.json", [0.5], [9])])
    more = write(tmp_path / "more.json", [2.0])
    with pytest.raises(CompareError, match=r"more\.json: samples\.scored has more than samples"):
        compare([more])


def test_the_table_says_what_it_shows(tmp_path: Path) -> None:
    files = [write(tmp_path / "a.json", [0.5, 0.5]), write(tmp_path / "b.json", [0.6, 0.6])]
    result = CliRunner().invoke(app, ["compare", *map(str, files)])
    assert result.exit_code == 0, result.output
    assert "95% interval of the difference" in result.output
    assert "+10.0 to +10.0" in result.output
    assert "where both ends have one sign" in result.output
