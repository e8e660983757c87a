"""What docs/cluster.md says in numbers is what the recipes give."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs poised[train]")

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_pages_hours_are_the_formulas(monkeypatch: pytest.MonkeyPatch) -> None:
    """CSANet by hand: 6 x 29.146e9 x 149,813 x 140 / (312e12 x 0.1) / 3600 is 32.7 h."""
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])
    from write_hours import table

    lines = table()
    assert "| `csanet` | 149813 x 140 | 29.15 | 3.67 | 32.7 h | 8.2 h | 4.1 h |" in lines
    page = (DOCS / "cluster.md").read_text("utf-8")
    assert "\n".join(lines) in page
