"""A shell that asks is told the names that begin so, and is told them soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from poised.bundled import bundled_models, recipe_names
from poised.cli import app

HEAVY = ("torch", "openvino", "onnxruntime", "cv2", "numpy", "scipy", "matplotlib")
MODELS = ["coco17", "coco17-small"]


def told(typed: str, shell: str = "bash") -> str:
    """What the completion of a shell answers when the words end there."""
    asked = {"_POISED_COMPLETE": f"complete_{shell}", "COMP_WORDS": typed}
    asked["COMP_CWORD"] = str(len(typed.split(" ")) - 1)
    asked |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    return CliRunner().invoke(app, [], env=asked, prog_name="poised").output


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("poised pred", ["predict"]),
        ("poised predict --eng", ["--engine"]),
        ("poised predict --engine o", ["openvino", "onnx"]),
        ("poised predict --model coco", MODELS),
        ("poised evaluate --model ", MODELS),
        ("poised train --from coco17-", ["coco17-small"]),
        ("poised predict --detector ", ["person"]),
        ("poised export p", ["person"]),
        ("poised train cpn-con", ["cpn-concat"]),
        ("poised recipes show cpn-con", ["cpn-concat"]),
        ("poised cost spcnet cpn-con", ["cpn-concat"]),
        ("poised evaluate --recipe ", recipe_names()),
        ("poised predict --model ./mine", []),  # the shell goes on to files
    ],
)
def test_the_shell_is_told(typed: str, expected: list[str]) -> None:
    assert told(typed).split() == expected


def test_every_bundled_model_is_told() -> None:
    names = told("poised predict --model ").split() + told("poised predict --detector ").split()
    assert sorted(names) == bundled_models()


def test_zsh_and_fish_are_told_too() -> None:
    assert '"predict":"Write everybody' in told("poised pred", "zsh")
    assert told("poised pred", "fish").startswith("predict\tWrite everybody")
    assert told("poised train cpn-con", "zsh") == "_arguments '*: :((\"cpn-concat\"))'\n"
    assert told("poised train cpn-con", "fish") == "cpn-concat\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    """As `poised --show-completion` prints it where it runs in that shell."""
    asked = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    command = [sys.executable, "-m", "poised", "--show-completion", shell]
    script = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True)
    assert script.returncode == 0, script.stderr
    assert f"complete_{shell}" in script.stdout
    assert script.stderr == ""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_itself_completes(tmp_path: Path) -> None:
    """By its own variables and function."""
    program = tmp_path / "poised"
    code = "from poised.cli import app; app(prog_name='poised')"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    program.chmod(0o755)
    script = (
        f"PATH={tmp_path}:$PATH\n"
        'eval "$(_POISED_COMPLETE=source_bash poised)"\n'
        "COMP_WORDS=(poised predict --model coco17-); COMP_CWORD=3\n"
        "_poised_completion poised\n"
        'echo "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("coco17-small\n", "")


@pytest.mark.parametrize(
    "typed", ["", "poised pre", "poised train cpn-", "poised predict --model "]
)
def test_help_and_completion_import_nothing_heavy(typed: str) -> None:
    words = ["--help"] if not typed else []
    asked = {"_POISED_COMPLETE": "complete_bash", "COMP_WORDS": typed} if typed else {}
    asked["COMP_CWORD"] = str(len(typed.split(" ")) - 1)
    code = (
        "import sys; from poised.cli import app\n"
        f"try: app({words}, prog_name='poised')\n"
        f"finally: print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=os.environ | asked, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout
