"""A shell that asks is told the commands and options that begin so."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from poised.cli import app


@pytest.mark.parametrize(
    ("typed", "told"), [("poised pred", "predict"), ("poised predict --eng", "--engine")]
)
def test_the_shell_is_told(typed: str, told: str) -> None:
    asked = {"_POISED_COMPLETE": "complete_bash", "COMP_WORDS": typed}
    asked["COMP_CWORD"] = str(len(typed.split()) - 1)
    result = CliRunner().invoke(app, [], env=asked, prog_name="poised")
    assert result.output.split() == [told]
