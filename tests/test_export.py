"""Weights from elsewhere become models: `poised export`, `--model x.safetensors`, their recipes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
onnx = pytest.importorskip("onnx", reason="needs poised[train]")

from typer.testing import CliRunner

from poised import Boxes, Predictor
from poised.cli import app
from poised.export import exported as module_of
from poised.nets import build
from poised.protocol import Protocol
from poised.read_recipe import load_recipe
from poised.runtime import ModelError, Session

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "samples" / "basketball1.png"
BOXES = Boxes(np.array([[30, 20, 150, 400], [420, 60, 200, 380]]), np.ones(2))
RECIPE = """
base: csanet
network: {name: simple_baseline, options: {depth: 18}}
input: {size: [96, 128]}
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Simple Baseline under its public names, imported; and a paper's recipe for it."""
    folder = tmp_path_factory.mktemp("imported")
    torch.manual_seed(0)
    network = build("simple_baseline", joints=17, depth=18)
    torch.nn.init.normal_(network.final_layer.weight, std=0.5)
    state = {name.removeprefix("backbone."): value for name, value in network.state_dict().items()}
    torch.save(state, folder / "public.pth")
    (folder / "sbn18.yaml").write_text(RECIPE)
    code, output = run("import-weights", folder / "public.pth", "--as", "sbn-hrnet")
    assert code == 0, output
    assert "poised export" in output  # what comes next
    return folder


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def exported(folder: Path, out: Path, *options: str) -> Path:
    recipe = folder / "sbn18.yaml"
    command = ("export", folder / "public.safetensors", "--recipe", recipe, "--out", out)
    code, output = run(*command, *options)
    assert code == 0, output
    return out


def test_imported_weights_become_a_model(imported: Path, tmp_path: Path) -> None:
    """With the recipe's skeleton, crop, size; fp32 to the last digits, fp16 half as large."""
    sharp = exported(imported, tmp_path / "sharp.onnx", "--fp32")
    small = exported(imported, tmp_path / "small.onnx")
    session = Session(sharp, "onnx")
    assert session.metadata["crop"] == "classic"
    assert session.metadata["skeleton"]["name"] == "coco17"
    assert session.input_shape[2:] == (128, 96)
    assert sharp.stat().st_size > 1.9 * small.stat().st_size
    weights = tmp_path / "beside.safetensors"
    weights.write_bytes((imported / "public.safetensors").read_bytes())
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    images = np.random.default_rng(0).normal(size=(2, 3, 128, 96)).astype(np.float32)
    direct = Session(weights)
    assert direct.engine == "torch"
    maps = direct.run(images)["heatmaps"]
    np.testing.assert_allclose(session.run(images)["heatmaps"], maps, atol=1e-4 * maps.max())


def test_a_papers_model_predicts_as_it_is_evaluated(imported: Path, tmp_path: Path) -> None:
    """CSANet's protocol is the quarter offset: what is exported says so too."""
    model = exported(imported, tmp_path / "sbn.onnx")
    test = load_recipe(str(imported / "sbn18.yaml")).test
    protocol = Protocol(test.shift, test.scales, test.decoder, test.rescore)
    asked = {"detector": None, "engine": "onnx", "flip": test.flip, "threads": 1}
    plain = Predictor.load(model, **asked).predict(SAMPLE, BOXES)
    evaluated = Predictor.load(model, protocol=protocol, **asked).predict(SAMPLE, BOXES)
    np.testing.assert_array_equal(plain.xy, evaluated.xy)


def test_predict_takes_weights_or_says_what_to_type(imported: Path, tmp_path: Path) -> None:
    weights = imported / "public.safetensors"
    command = ("predict", SAMPLE, "--whole-image", "--out", tmp_path / "out", "--model")
    code, output = run(*command, weights)
    assert code == 2
    assert f"poised export {weights} --recipe NAME --out" in output
    code, output = run(*command, weights, "--engine", "onnx")
    assert code == 2
    assert f"poised export {weights}" in output
    whole = tmp_path / "whole.safetensors"
    recipe = ("--recipe", imported / "sbn18.yaml")
    make = ("import-weights", imported / "public.pth", "--as", "sbn-hrnet", "--out", whole)
    assert run(*make, *recipe)[0] == 0
    code, output = run(*command, whole)
    assert code == 0, output
    assert len(json.loads((tmp_path / "out" / "poses.json").read_text())[0]["keypoints"]) == 51
    code, output = run("export", whole, "--out", tmp_path / "whole.onnx")  # the recipe is within
    assert code == 0, output


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("hourglass", "holds simple_baseline, recipe wrong is of hourglass"),
        ("mpii16", "gives 17 keypoints, recipe wrong has the skeleton mpii16 of 16"),
        ("50", r"does not fit SimpleBaseline: .*missing: backbone"),
    ],
)
def test_a_recipe_of_another_network_is_refused(
    imported: Path, tmp_path: Path, recipe: str, message: str
) -> None:
    """Too: weights that were trained here, with a recipe whose network has another option."""
    changes = {
        "hourglass": "network: {name: hourglass}",
        "mpii16": "network: {name: simple_baseline, options: {depth: 18}}\nskeleton: mpii16",
        "50": "network: {name: simple_baseline, options: {depth: 50}}",
    }
    (tmp_path / "wrong.yaml").write_text(f"base: csanet\n{changes[recipe]}\n")
    wrong = load_recipe(str(tmp_path / "wrong.yaml"))
    with pytest.raises(ValueError, match=message):
        module_of(imported / "public.safetensors", wrong)


def test_a_recipe_of_another_training_is_refused(tmp_path: Path) -> None:
    """Dilation changes no tensor's shape, and all of what a network says."""
    plain = load_recipe("coco17")
    other = load_recipe("coco17", ["network.options.frozen=0"])
    weights = Path(str(Session("coco17").path)).with_suffix(".safetensors")
    assert module_of(weights, plain)[1].name == "coco17"
    with pytest.raises(ValueError, match=r"was trained as .*'frozen': 4.*recipe coco17 is"):
        module_of(weights, other)
    with pytest.raises(ModelError, match="no model file"):
        Session(tmp_path / "absent.safetensors")


def test_simple_baselines_weights_bring_their_own_mean(imported: Path, tmp_path: Path) -> None:
    """Its public code normalises BGR by RGB's numbers: the model does, whatever the recipe says."""
    model = exported(imported, tmp_path / "sbn.onnx", "--fp32")
    session = Session(model, "onnx")
    image = np.random.default_rng(0).integers(0, 256, (1, 128, 96, 3)).astype(np.float32)
    mean, std = (np.array(session.metadata[k], np.float32) for k in ("mean", "std"))
    ours = session.run(np.ascontiguousarray(((image - mean) / std).transpose(0, 3, 1, 2)))
    network = build("simple_baseline", joints=17, depth=18).eval()
    public = torch.load(imported / "public.pth", weights_only=True)
    network.load_state_dict({_placed(name): value for name, value in public.items()})
    numbers = torch.tensor([[123.675, 116.28, 103.53], [58.395, 57.12, 57.375]])  # RGB's, on BGR
    bgr = (torch.from_numpy(image[..., ::-1].copy()) - numbers[0]) / numbers[1]
    with torch.no_grad():
        want = network(bgr.permute(0, 3, 1, 2))[-1].numpy()
    np.testing.assert_allclose(ours["heatmaps"], want, atol=1e-3 * np.abs(want).max())
    within = ("import-weights", imported / "public.pth", "--as", "sbn-hrnet")
    code, output = run(
        *within, "--recipe", imported / "sbn18.yaml", "--out", tmp_path / "w.safetensors"
    )
    assert code == 0, output
    assert module_of(tmp_path / "w.safetensors")[1].input.mean == (103.53, 116.28, 123.675)


def _placed(name: str) -> str:
    return name if name.startswith(("deconv_layers", "final_layer")) else f"backbone.{name}"
