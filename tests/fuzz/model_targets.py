"""Readers of models, weights and recipes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from models import NOTES, colour_maps, colour_model, fixed_detector, simcc_model

from fuzz.data_targets import json_data, json_value, yaml_data, yaml_value
from fuzz.trial import Target
from poised.runtime import find_model
from poised.types import Boxes

Image = np.random.default_rng(0).integers(0, 255, (80, 60, 3)).astype(np.uint8)
BOXES = Boxes(np.array([[5, 5, 40, 60], [10, 2, 30, 30]], np.float32), np.ones(2, np.float32))
RECIPE = ["backbone={weights: null}", "network={name: plain_pyramid, options: {width: 8}}"]


def predict(file: str, engine: Any, folder: Path) -> Any:
    """Two people's poses, as they are written."""
    from poised.predict import Predictor
    from poised.results import pose_records

    predictor = Predictor.load(folder / file, detector=None, engine=engine, threads=1)
    return pose_records(predictor.predict(Image, BOXES), 0)


def detect(engine: Any, folder: Path) -> Any:
    from poised.boxes.detector import Detector

    return Detector(folder / "a.onnx", engine, threads=1).find(Image).xywh.tolist()


def write_detector(folder: Path) -> None:
    boxes = [[5.0, 5, 30, 40], [6, 5, 30, 41], [1, 1, 9, 60]]
    fixed_detector(folder / "a.onnx", boxes, [0.9, 0.8, 0.7])


def notes_value(data: bytes) -> Any:
    return json.loads(onnx.load_from_string(data).metadata_props[0].value)


def notes_data(data: Callable[[], bytes], value: Any) -> bytes:
    model = onnx.load_from_string(data())
    onnx.helper.set_model_props(model, {"poised": json.dumps(value)})
    return bytes(model.SerializeToString())


@lru_cache
def made(write: Callable[[Path], object]) -> bytes:
    """The bytes of what a function writes."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch) / "a.onnx")
        return (Path(scratch) / "a.onnx").read_bytes()


def detector_file(path: Path) -> None:
    write_detector(path.parent)


def of_notes(write: Callable[[Path], object], read: Callable[[Path], Any]) -> Target:
    """The metadata of a model of ours."""
    return Target(
        "a.onnx",
        lambda folder: (folder / "a.onnx").write_bytes(made(write)) and None,
        read,
        notes_value,
        partial(notes_data, partial(made, write)),
    )


def write_beside(folder: Path) -> None:
    colour_maps(folder / "a.onnx")
    fields = {"skeleton": NOTES["skeleton"], "mean": [1, 2, 3], "std": [1.5, 2, 3], "bgr": True}
    fields |= {"padding": 1.5, "crop": "classic", "decoder": "quarter"}
    (folder / "a.yaml").write_text(yaml.safe_dump(fields))


def write_xml(folder: Path) -> None:
    from poised.openvino_model import write_openvino

    write_openvino(colour_model(folder / "a.onnx"), NOTES, folder / "a.xml")
    (folder / "a.onnx").unlink()


def write_weights(folder: Path) -> None:
    import torch

    from poised.checkpoint import describe_network, save_tensors
    from poised.nets import build
    from poised.read_recipe import load_recipe

    recipe = load_recipe("lsp14", [*RECIPE, "input.size=[64, 64]"])
    torch.manual_seed(0)
    network = build(**describe_network(recipe, 14))
    notes = {"network": describe_network(recipe, 14), "recipe": recipe.model_dump(mode="json")}
    save_tensors(folder / "a.safetensors", network.state_dict(), notes)


def read_weights(folder: Path) -> Any:
    return predict("a.safetensors", "torch", folder)


def header_value(data: bytes) -> Any:
    """A safetensors' header, its notes as values."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    return header | {"__metadata__": {"poised": json.loads(header["__metadata__"]["poised"])}}


def header_data(value: Any) -> bytes:
    """With no more of the tensors than zeros: what is read of them is not what is tried here."""
    end = max((t["data_offsets"][1] for k, t in value.items() if k != "__metadata__"), default=0)
    notes = value.get("__metadata__")
    if isinstance(notes, dict) and "poised" in notes:
        value["__metadata__"] = {"poised": json.dumps(notes["poised"])}
    text = json.dumps(value).encode()
    return len(text).to_bytes(8, "little") + text + bytes(min(int(end), 1 << 20))


def write_state(folder: Path) -> None:
    from poised.checkpoint import save_tensors

    write_weights(folder)
    from poised.checkpoint import read_tensors

    tensors, notes = read_tensors(folder / "a.safetensors")
    state = {"recipe": notes["recipe"], "samples": 4, "step": 3, "seconds": 1.5, "best": None}
    save_tensors(
        folder / "state.safetensors", {f"network.{k}": v for k, v in tensors.items()}, state
    )


def read_state(folder: Path) -> Any:
    from poised.checkpoint import read_tensors
    from poised.resume import find_state, put_away

    recipe = sound_recipe(folder)
    found = find_state(folder, {"recipe": recipe, "samples": 4})
    put_away(folder)
    return None if found is None else read_tensors(folder / "earlier-1" / "state.safetensors")[1]


def sound_recipe(folder: Path) -> Any:
    from poised.checkpoint import read_tensors

    return read_tensors(folder / "a.safetensors")[1]["recipe"]


def write_checkpoint(folder: Path) -> None:
    import torch

    rng = torch.Generator().manual_seed(0)
    state = {f"module.score.{n}.weight": torch.randn(4, 4, generator=rng) for n in range(3)}
    torch.save({"state_dict": state, "epoch": 1, "best": 0.5}, folder / "a.pth")


def read_checkpoint(folder: Path) -> None:
    from poised.foreign_weights import import_weights
    from poised.pretrained import WeightsError, read_checkpoint

    read_checkpoint(folder / "a.pth")
    try:
        import_weights(folder / "a.pth", "hourglass", folder / "b.safetensors")
    except WeightsError as error:
        if str(folder) not in str(error):
            raise


def write_torchscript(folder: Path) -> None:
    import torch

    from poised.export import export_torchscript

    write_weights(folder)
    export_torchscript(folder / "a.safetensors", folder / "a.pt")
    assert torch.__version__


def write_recipe(folder: Path) -> None:
    from poised.read_recipe import load_recipe

    recipe = load_recipe("lsp14", [*RECIPE])
    values = recipe.model_dump(mode="json", exclude_none=True)
    (folder / "mine.yaml").write_text(yaml.safe_dump(values, sort_keys=False))


def read_recipe(folder: Path) -> Any:
    from poised.checkpoint import check_network
    from poised.read_recipe import load_recipe

    recipe = load_recipe(str(folder / "mine.yaml"))
    with suppress(ValueError):  # it names the network and its options
        check_network(recipe)
    return recipe.model_dump(mode="json")


def write_overrides(folder: Path) -> None:
    (folder / "overrides.txt").write_text(
        "optimise.epochs=5\naugment={rotate: 30}\ntest.scales=[0.9, 1.0]\nname=mine\n"
        "input.size=[64, 64]\nnetwork.options.width=16\nmeasured={AP: 1.5}\n"
    )


def read_overrides(folder: Path) -> Any:
    from poised.checkpoint import check_network
    from poised.read_recipe import load_recipe

    text = (folder / "overrides.txt").read_bytes().decode("utf-8", "surrogateescape")
    recipe = load_recipe("lsp14", [*RECIPE, *text.split("\n")[:-1]])
    with suppress(ValueError):
        check_network(recipe)
    return recipe.model_dump(mode="json")


POSE = partial(predict, "a.onnx", "openvino")
MODEL_TARGETS: dict[str, Target] = {
    "checkpoint": Target("a.pth", write_checkpoint, read_checkpoint),
    "model-yaml": Target("a.yaml", write_beside, POSE, yaml_value, yaml_data),
    "onnx-detector": Target("a.onnx", write_detector, partial(detect, "openvino")),
    "onnx-detector-notes": of_notes(detector_file, partial(detect, "openvino")),
    "onnx-pose": Target("a.onnx", lambda folder: colour_model(folder / "a.onnx") and None, POSE),
    "onnx-pose-notes": of_notes(colour_model, POSE),
    "onnx-person": Target(
        "a.onnx",
        lambda folder: shutil.copy(find_model("person"), folder / "a.onnx") and None,
        partial(detect, "openvino"),
    ),
    "onnx-runtime": Target(
        "a.onnx",
        lambda folder: colour_model(folder / "a.onnx") and None,
        partial(predict, "a.onnx", "onnx"),
    ),
    "onnx-simcc": Target(
        "a.onnx", lambda folder: simcc_model(folder / "a.onnx", wh=(48, 64)) and None, POSE
    ),
    "openvino-xml": Target("a.xml", write_xml, partial(predict, "a.xml", "openvino")),
    "overrides": Target("overrides.txt", write_overrides, read_overrides, named=False),
    "recipe": Target("mine.yaml", write_recipe, read_recipe, yaml_value, yaml_data),
    "safetensors": Target("a.safetensors", write_weights, read_weights),
    "safetensors-header": Target(
        "a.safetensors", write_weights, read_weights, header_value, header_data
    ),
    "state": Target("state.safetensors", write_state, read_state, header_value, header_data),
    "torchscript": Target("a.pt", write_torchscript, partial(predict, "a.pt", "torch")),
}
assert json_value, json_data
