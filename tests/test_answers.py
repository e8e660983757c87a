"""Every command answers programs by --json: one strict document at stdout, and no warning."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
pytest.importorskip("huggingface_hub", reason="needs poised[hub]")

import typer.main
from clips import moving_square, write_clip
from made import make_discs
from stand_in_hub import hub
from typer.testing import CliRunner

from poised.cli import app
from poised.nets import build
from poised.nets.resnet import ResNet

# without --json, and why
EXEMPT = {"serve": "serves until it is stopped, and has no answer but the page's address"}

TINY = [
    "network={name: plain_pyramid, options: {width: 8}}",
    "backbone={weights: null}",
    "input.size=[64, 64]",
    "optimise={batch: 4, epochs: 1, workers: 0}",
    "skeleton=discs/discs.yaml",
    "dataset={name: coco, root: discs, train: train}",
    "test={split: test}",
]
OF = ["discs", "--dataset", "coco", "--skeleton", "discs/discs.yaml"]
SCORED = ["--data", *OF, "--split", "test", "--model", "run/lsp14.onnx"]
PHOTOS = ["predict", "discs/images", "--whole-image", "--model", "run/lsp14.onnx"]
# in the order in which they are run: words, and what the answer has (of a list its first)
QUICK: dict[str, tuple[list[str], set[str]]] = {
    "models": ([], {"name", "licence", "source", "bytes"}),
    "recipes": ([], {"name", "network", "dataset", "size", "reported"}),
    "recipes show": (["cpn", "optimise.epochs=5"], {"network", "optimise", "reported"}),
    "doctor": ([], {"thing", "found", "ok", "mend", "needed"}),
    "train": (["lsp14", *TINY, "--out", "run"], {"weights", "onnx"}),
    "cost": (["lsp14", "--out", "cost.json"], {"recipe", "params_m", "macs_g", "published"}),
    "reproduce": (["lsp14", *TINY, "--dry"], {"recipe", "needs"}),
    "export": (["run/lsp14.safetensors", "--out", "again.onnx"], {"model", "out"}),
    "import-backbone": (["resnet18.pth"], {"network", "out"}),
    "import-weights": (["baseline.pth", "--as", "sbn-hrnet"], {"network", "out", "input"}),
    "evaluate": ([*SCORED, "--out", "run.json"], {"figures", "protocol", "samples"}),
    "report": ([*SCORED, "--out", "report.html"], {"people", "out"}),
    "compare": (["run.json", "run.json"], {"name", "figures", "share", "low", "high", "unlike"}),
    "predict": (
        [*PHOTOS[1:], "--shard", "1/1", "--out", "shards"],
        {"people", "images", "left_out", "set_aside", "undrawn", "out", "pictures"},
    ),
    "merge": (["shards/shard-1-of-1", "--out", "poses"], {"people", "images", "out", "pictures"}),
    "convert": (
        ["poses/poses.json", "--out", "tasks.json", "--to", "label-studio"],
        {"people", "images", "out"},
    ),
    "data check": (OF, {"people", "images", "keypoints", "labelled", "kinds", "faults"}),
    "data convert": ([*OF, "--out", "coco.json"], {"people", "out"}),
    "data pack": ([*OF, "--out", "packed"], {"people", "images", "bytes", "out"}),
    "data show": ([*OF, "--out", "sheet.jpg"], {"shown", "people", "out"}),
    "hub push": (["run/lsp14.onnx", "me/discs"], {"model", "commit"}),
    "hub pull": (["me/discs", "--out", "pulled"], {"repository", "models"}),
}
# other ways through the same commands
SLOW: dict[str, tuple[list[str], set[str]]] = {
    "find-lr": (["train", "lsp14", *TINY, "--find-lr", "--out", "lr"], {"lr", "out"}),
    "smoke": (
        ["reproduce", "lsp14", *TINY, "--smoke", "--out", "row"],
        {"figures", "verdict", "protocol", "steps", "out"},
    ),
    "verify": (
        ["export", "coco17-small", "--out", "small.xml", "--verify", "--images", "photos"],
        {"model", "out", "first", "people", "apart", "figures"},
    ),
    "video": (
        ["predict", "clip.mp4", "--whole-image", "--model", "coco17-small", "--out", "film"],
        {"poses", "frames", "out", "videos", "set_aside"},
    ),
}
LONG = {"cluster predict": "test_cluster.py runs it, where Ray is installed"}


def commands() -> Iterator[tuple[str, Any]]:
    """Each command by its words, also a group that does something by itself."""

    def walk(command: Any, words: list[str]) -> Iterator[tuple[str, Any]]:
        below = getattr(command, "commands", {})
        if words and (not below or command.invoke_without_command):
            yield " ".join(words), command
        for name, one in below.items():
            yield from walk(one, [*words, name])

    return walk(typer.main.get_command(app), [])


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def strict(text: str) -> Any:
    """The value of one line of JSON, as RFC 8259 has it."""
    assert text.endswith("}\n") or text.endswith("]\n")
    assert text.count("\n") == 1
    return json.loads(text, parse_constant=refuse)


def run_all(folder: Path, lines: dict[str, list[str]], **environment: str) -> dict[str, int]:
    """Exit codes of command lines in the folder, by `command_lines`."""
    (folder / "lines.json").write_text(json.dumps(lines))
    driver = Path(__file__).with_name("command_lines.py")
    asked = [sys.executable, "-W", "error", str(driver), "lines.json"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HOME": "/dev/null", **environment}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    for name in ("TMPDIR", "TORCHINDUCTOR_CACHE_DIR", "MPLCONFIGDIR"):
        environment[name] = str(folder / "scratch")
    (folder / "scratch").mkdir(exist_ok=True)
    done = subprocess.run(asked, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    codes: dict[str, int] = json.loads((folder / "codes.json").read_text())
    return codes


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of discs, and two files of weights as other projects have them."""
    folder = tmp_path_factory.mktemp("answers")
    make_discs(folder / "discs", people=8)
    baseline = build("simple_baseline", joints=3, depth=18)
    state = {k.removeprefix("backbone."): v for k, v in baseline.state_dict().items()}
    torch.save(state, folder / "baseline.pth")
    torch.save(ResNet(18).state_dict(), folder / "resnet18.pth")
    return folder


@pytest.fixture(scope="module")
def codes(folder: Path) -> dict[str, int]:
    lines = {name: [*name.split(), *words, "--json"] for name, (words, _) in QUICK.items()}
    with hub() as there:
        port = there.endpoint.rpartition(":")[2]
        given = {"HF_ENDPOINT": there.endpoint, "HF_TOKEN": "t", "HF_HOME": "hub", "PORTS": port}
        return run_all(folder, lines, **given)


def test_nothing_is_written_elsewhere_and_nobody_is_asked(
    folder: Path, codes: dict[str, int]
) -> None:
    """Of all commands, by their processes' own Python; the Hub's stand-in may be asked."""
    assert set(codes.values()) == {0}
    assert json.loads((folder / "outside.json").read_text()) == []


def test_every_command_has_it_and_is_run_here() -> None:
    without = {
        name
        for name, command in commands()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert without == set(EXEMPT)
    assert {name for name, _ in commands()} == {*QUICK, *LONG, *EXEMPT}


@pytest.mark.parametrize("name", QUICK)
def test_stdout_is_one_strict_document(folder: Path, codes: dict[str, int], name: str) -> None:
    stderr = (folder / f"{name}.err").read_text("utf-8")
    assert codes[name] == 0, stderr
    assert "Warning" not in stderr
    value = strict((folder / f"{name}.out").read_text("utf-8"))
    assert QUICK[name][1] <= (value[0] if isinstance(value, list) else value).keys()


@pytest.mark.long
def test_stdout_is_one_strict_document_of_what_takes_longer(folder: Path) -> None:
    pytest.importorskip("av", reason="needs poised[video]")
    write_clip(folder / "clip.mp4", [moving_square(number) for number in range(12)])
    (folder / "photos").symlink_to(Path(__file__).parents[1] / "data" / "samples")
    codes = run_all(folder, {name: [*words, "--json"] for name, (words, _) in SLOW.items()})
    for name, (_, fields) in SLOW.items():
        stderr = (folder / f"{name}.err").read_text("utf-8")
        assert (codes[name], "Warning" in stderr) == (0, False), stderr
        value = strict((folder / f"{name}.out").read_text("utf-8"))
        assert fields <= value.keys()
    [video] = json.loads((folder / "video.out").read_text())["videos"]
    assert (video["file_name"], video["frames"], video["copy"]) == ("clip.mp4", 12, "film/clip.mp4")


def test_documents_say_what_was_done(folder: Path, codes: dict[str, int]) -> None:
    """By the files that were written."""

    def told(name: str) -> Any:
        return json.loads((folder / f"{name}.out").read_text("utf-8"))

    def written(name: str) -> Any:
        return json.loads((folder / name).read_text("utf-8"))

    assert told("merge")["people"] == len(written("poses/poses.json")) == 8
    assert told("evaluate") == written("run.json")
    assert told("cost") == written("cost.json")
    assert told("recipes show")["optimise"]["epochs"] == 5
    assert told("data check")["people"] == told("data convert")["people"] == 6
    assert told("data pack")["bytes"] == (folder / "packed" / "images.pack").stat().st_size
    for name, key in (("train", "onnx"), ("export", "out"), ("report", "out"), ("merge", "out")):
        assert (folder / told(name)[key]).is_file()
    assert told("hub pull")["models"] == ["pulled/lsp14.onnx"]


def test_progress_goes_to_stderr(folder: Path, codes: dict[str, int]) -> None:
    assert "0.png: 1 person" in (folder / "predict.err").read_text("utf-8")
    assert "6 images seen" in (folder / "reproduce.out").read_text("utf-8")
    assert "step" in (folder / "train.err").read_text("utf-8")


def test_faults_are_an_answer_and_errors_are_none(tmp_path: Path) -> None:
    """The exit codes are those without --json."""
    make_discs(tmp_path / "discs", people=4)
    (tmp_path / "discs" / "images" / "2.png").unlink()
    check = ["data", "check", str(tmp_path / "discs"), "--dataset", "coco"]
    check += ["--skeleton", str(tmp_path / "discs" / "discs.yaml")]
    shown, told = (CliRunner().invoke(app, [*check, *more]) for more in ([], ["--json"]))
    assert shown.exit_code == told.exit_code == 1
    [fault] = strict(told.stdout)["faults"]
    assert "{image}: record {record}: {kind}: {detail}".format(**fault) in shown.stdout
    for wrong in (["compare", "none.json"], ["recipes", "show", "none"], ["recipes", "--nothing"]):
        shown, told = (CliRunner().invoke(app, [*wrong, *more]) for more in ([], ["--json"]))
        assert shown.exit_code == told.exit_code == 2
        assert told.stdout == ""
        assert told.stderr == shown.stderr
    misplaced = CliRunner().invoke(app, ["recipes", "--json", "show", "cpn"])
    assert (misplaced.exit_code, misplaced.stdout) == (2, "")
    assert "--json comes after show" in misplaced.stderr
