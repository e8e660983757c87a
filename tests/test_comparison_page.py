"""docs/comparison.md is what its runs say, and its networks are those of the papers' tables."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs poised[train]")

import torch

from poised.checkpoint import describe_network
from poised.nets import build
from poised.read_recipe import load_recipe

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    import compare_networks

    return compare_networks


def test_the_page_is_written_from_its_runs(  # type: ignore[no-untyped-def]
    script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(DOCS / "comparison", tmp_path / "comparison")
    monkeypatch.setattr(script, "HERE", tmp_path)
    script.write_page()
    assert (tmp_path / "comparison.md").read_text() == (DOCS / "comparison.md").read_text()


def test_a_row_is_the_recipes_network(script) -> None:  # type: ignore[no-untyped-def]
    """The ablations that are recipes of the package, too, switch the same options."""
    same = {"csanet-cap", "csanet-cap-sap", "efafnet-fam", "efafnet-fsm", "efafnet-ffm"}
    same |= {"efafnet-duc", "cpn-globalnet"}
    usual = {"depth": 50, "backbone": 50, "hard": None}  # hard: of the loss, not the network
    for name in same:
        theirs = usual | load_recipe(name).network.options | {"hard": None}
        assert theirs == usual | script.ROWS[name].options, name


def test_every_row_can_be_built(script) -> None:  # type: ignore[no-untyped-def]
    base = str(DOCS / "comparison" / "base.yaml")
    for name, row in script.ROWS.items():
        options = json.dumps({**row.options, "width": 0.25})
        recipe = load_recipe(base, [f"network={{name: {row.network}, options: {options}}}"])
        with torch.device("meta"):
            build(**describe_network(recipe, 14))
        assert row.of is None or row.of in script.ROWS, name
