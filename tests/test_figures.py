"""Figures stand in several documents: they are those that docs/results.md was written with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from poised.bundled import bundled_models
from poised.runtime import find_model

ROOT = Path(__file__).resolve().parents[1]
RESULTS = (ROOT / "docs" / "results.md").read_text("utf-8")
SHOWN = {  # what the documents show of a model: run and figure
    ("coco val2017, boxes: truth", "AP"),
    ("coco val2017, boxes: detector", "AP"),
    ("lspet test, boxes: truth", "limb mean"),
}
POSE_MODELS = sorted({"coco17", "coco17-small"} & set(bundled_models()))


def figure(model: str, run: str, name: str) -> str:
    """As it stands in its table."""
    section = RESULTS.split(f"## {model}: {run}\n")[1].split("\n## ")[0]
    found = re.search(rf"^\| {re.escape(name)} \| ([\d.]+) \|$", section, re.MULTILINE)
    assert found, (model, run, name)
    return found[1]


@pytest.mark.parametrize("model", POSE_MODELS)
def test_a_models_figures_are_the_same_everywhere(model: str) -> None:
    row = next(
        line
        for line in (ROOT / "README.md").read_text("utf-8").splitlines()
        if f"[`{model}`]" in line
    )
    card = find_model(model).with_suffix(".md").read_text("utf-8")
    listed = yaml.safe_load(find_model(model).with_name("known.yaml").read_text("utf-8"))
    entry = next(one for one in listed if one["name"] == model)
    for run, name in SHOWN:
        value = figure(model, run, name)
        for place in (row, card, entry["figures"]):
            assert re.search(rf"(?<![\d.]){re.escape(value)}(?!\d)", place), (
                value,
                run,
                name,
                place,
            )


@pytest.mark.parametrize("model", POSE_MODELS)
def test_a_models_size_is_that_of_its_file(model: str) -> None:
    megabytes = f"{find_model(model).stat().st_size / 1e6:.1f} MB"
    assert megabytes in find_model(model).with_suffix(".md").read_text("utf-8")
    assert f"| {megabytes} |" in (ROOT / "README.md").read_text("utf-8")


@pytest.mark.parametrize("model", POSE_MODELS)
def test_the_results_are_of_the_bundled_file(model: str) -> None:
    from poised.files import sha256

    assert f'"model_sha256": "{sha256(find_model(model))}"' in RESULTS
