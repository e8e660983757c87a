"""`poised doctor` says what runs here and names the command that brings what does not."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poised import doctor, runtime
from poised.cli import app
from poised.doctor import Finding, extras, findings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def said() -> dict[str, Finding]:
    return {finding.thing: finding for finding in findings()}


def test_engine_models_and_machine_are_told(said: dict[str, Finding]) -> None:
    assert said["engine openvino"].found in (
        "runs person, computes in f32",
        "runs person, computes in bf16",
    )
    assert said["model coco17"].found == "runs by openvino, 13.8 MB"
    assert "cores to use" in said["machine"].found
    assert all(said[f"model {name}"].ok for name in runtime.bundled_models())


def test_extras_are_those_of_the_project() -> None:
    """By the installed package's metadata, as by pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    told = extras()
    assert told.keys() == project["optional-dependencies"].keys()
    for extra, packages in project["optional-dependencies"].items():
        named = {re.split(r"[>[]", package)[0].lower() for package in packages}
        assert named - {"poised"} <= {*map(str.lower, told[extra])}


def test_a_missing_package_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda package: package != "scipy")
    monkeypatch.setattr(doctor, "bundled_models", list)
    monkeypatch.setattr(doctor, "BROUGHT_BY", {})
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 0  # prediction goes without
    assert "missing: scipy" in shown.output
    assert "pip install 'poised[eval]'" in shown.output


def test_a_damaged_model_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut in half, as by a full disk."""
    file = tmp_path / "person.onnx"
    shutil.copy(runtime.find_model("person"), file)
    file.write_bytes(file.read_bytes()[:1000000])
    monkeypatch.setattr(doctor, "bundled_models", lambda: [str(file)])
    monkeypatch.setattr(doctor, "BROUGHT_BY", {})
    shown = CliRunner().invoke(app, ["doctor"])
    assert shown.exit_code == 1
    assert "broken" in shown.output
    assert "--force-reinstall" in shown.output
