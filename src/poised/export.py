"""A trained network as ONNX or TorchScript, and everything a predictor must know inside it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.onnx import TrainingMode

from poised.checkpoint import (
    load_network,
    normalised_as,
    read_tensors,
    recipe_network,
    skeleton_of_weights,
)
from poised.files import written_whole
from poised.losses import log_chances
from poised.model_fields import ModelError, output_names
from poised.nets import build
from poised.pretrained import WeightsError, fill
from poised.read_recipe import RecipeError, load_recipe, validated
from poised.reading import json_text
from poised.recipe import Recipe
from poised.torchscript import without_remarks, write_torchscript
from poised.types import Skeleton
from poised.whole import WholeModel, whole_metadata

OPSET = 17


class PoseModel(nn.Module):
    """images -> heatmaps; softmax-trained ones are chances, brought to about 1 at a sure peak."""

    def __init__(self, network: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.network = network
        self.softmax = recipe.target.loss == "softmax"
        self.absent = recipe.target.absent
        self.sharpness = recipe.export.sharpness
        self.peak = 2 * math.pi * recipe.target.sigma**2  # 1 / the height of a sure, perfect map

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.network(images)[-1]
        if not self.softmax:
            return maps
        chance = log_chances(maps * self.sharpness, self.absent)[
            ..., : maps.shape[2] * maps.shape[3]
        ].exp()
        return (chance * self.peak).view_as(maps)


class DetectorModel(nn.Module):
    """images -> scores (N, M), boxes (N, M, 4) x1 y1 x2 y2, of every cell."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, boxes = self.network.cells(self.network(images))  # type: ignore[operator]
        return torch.sigmoid(logits), boxes.transpose(1, 2)


def model_metadata(recipe: Recipe, skeleton: Skeleton | None = None) -> dict[str, Any]:
    """What a predictor must know, as it stands in the file. skeleton: None for the recipe's."""
    size = recipe.export.size or recipe.input.size
    common = {"name": recipe.name, "input_wh": list(size)}
    common |= {"mean": list(recipe.input.mean), "std": list(recipe.input.std)}
    if recipe.detects:
        kind = {"kind": "detector", "threshold": recipe.export.threshold, "nms": recipe.export.nms}
        return common | kind
    return common | {
        "kind": "pose",
        "skeleton": (skeleton or Skeleton.load(str(recipe.skeleton))).to_dict(),
        "padding": recipe.export.padding,
        "chances": recipe.target.loss == "softmax",
        "blacked": recipe.input.blacked,
        "crop": recipe.input.crop,
        "decoder": recipe.export.decoder or recipe.test.decoder or "unbiased",
        "sigma": recipe.target.sigma,
        "stride": recipe.input.stride,
    }


def exported(
    weights: Path, recipe: Recipe | None = None
) -> tuple[nn.Module, Recipe, Skeleton | None]:
    """A weights file as the module that is exported, its recipe, and the skeleton in it, if any.

    recipe: None for the one within the file, or beside it as <name>.yaml or recipe.yaml. Raises
    RecipeError where there is none, ValueError where it is of another network.
    """
    tensors, notes = read_tensors(weights)
    within = None
    if recipe is None and "recipe" in notes:
        recipe = validated(notes["recipe"], f"{weights}, the recipe within it")
        within = None if recipe.detects else skeleton_of_weights(notes, str(weights))
        network = load_network(weights)
    else:
        recipe = recipe or _recipe_beside(weights)
        if "network" not in notes:
            load_network(weights)  # raises: it says what to take
        described = recipe_network(recipe, notes["network"], str(weights))
        if "recipe" in notes and described != notes["network"]:
            raise WeightsError(
                f"{weights} was trained as {notes['network']}, recipe {recipe.name} is {described}"
            )
        network = build(**described)
        fill(network, tensors, str(weights))
        recipe = normalised_as(recipe, notes)
    whole = DetectorModel(network) if recipe.detects else PoseModel(network, recipe)
    return whole.eval(), recipe, within


def _recipe_beside(weights: Path) -> Recipe:
    """That of <name>.yaml or recipe.yaml; RecipeError says what to type where there is neither."""
    for path in (weights.with_suffix(".yaml"), weights.with_name("recipe.yaml")):
        if path.is_file():
            return load_recipe(str(path))
    raise RecipeError(
        f"{weights} has no recipe within it, nor beside it as {weights.stem}.yaml or recipe.yaml. "
        f"Type `poised export {weights} --recipe NAME --out {weights.with_suffix('.onnx')}`; "
        "`poised recipes` lists the names"
    )


def export_onnx(
    weights: Path,
    out: Path,
    halve: bool | None = None,
    recipe: Recipe | None = None,
    whole: bool = False,
) -> Path:
    """Write `weights`, a .safetensors of ours, as ONNX; the number of images is free.

    halve: store weights as fp16; None: as the recipe's `export.precision` says. They are rounded
    once: batch norms are left to the engine to fold, as folded fp16 weights would be rounded again.
    recipe: see `exported`. whole: from crop to keypoints, see `whole.WholeModel`.
    """
    module, metadata, halve = _prepared(weights, recipe, halve, whole)
    outputs = output_names(metadata)
    with written_whole(out) as partial, without_remarks():
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1")  # of one-sided padding
        torch.onnx.export(
            module,
            (_blank(metadata),),
            str(partial),
            dynamo=False,
            opset_version=OPSET,
            training=TrainingMode.PRESERVE if halve else TrainingMode.EVAL,  # EVAL folds
            do_constant_folding=not halve,
            input_names=["images"],
            output_names=outputs,
            dynamic_axes={name: {0: "N"} for name in ["images", *outputs]},
        )
        model = onnx.load(str(partial))
        if halve:
            halve_weights(model)
        onnx.helper.set_model_props(model, {"poised": json_text(metadata)})
        onnx.checker.check_model(model)
        onnx.save(model, str(partial))
    return out


def export_torchscript(
    weights: Path,
    out: Path,
    halve: bool | None = None,
    recipe: Recipe | None = None,
    whole: bool = False,
) -> Path:
    """Write `weights` as TorchScript; the number of images is free. The rest as `export_onnx`,
    whose rounded weights are stored as fp32 here.
    """
    module, metadata, halve = _prepared(weights, recipe, halve, whole)
    if halve:
        for name, value in module.state_dict().items():
            if _halves(name, value.is_floating_point(), value.numpy()):
                value.copy_(value.half().float())
    return write_torchscript(module, _blank(metadata), metadata, out)


def _prepared(
    weights: Path, recipe: Recipe | None, halve: bool | None, whole: bool
) -> tuple[nn.Module, dict[str, Any], bool]:
    """The module to write, its metadata, and whether its weights are to be fp16."""
    module, recipe, skeleton = exported(weights, recipe)
    metadata = model_metadata(recipe, skeleton)
    if whole and recipe.detects:
        raise ModelError(f"{weights}: a detector; a whole graph is had of a pose model alone")
    if whole:
        module, metadata = WholeModel(module, metadata).eval(), whole_metadata(metadata)
    return module, metadata, recipe.export.precision == "fp16" if halve is None else halve


def _blank(metadata: Mapping[str, Any]) -> Tensor:
    """Two images as a model's metadata say that it takes them."""
    width, height = metadata["input_wh"]
    if metadata.get("nhwc"):
        return torch.zeros(2, height, width, 3, dtype=torch.uint8)
    return torch.zeros(2, 3, height, width)


def halve_weights(model: onnx.ModelProto) -> None:
    """Store large tensors of weights as fp16, each cast back to fp32 where it is used."""
    graph = model.graph
    casts = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if not _halves(tensor.name, tensor.data_type == onnx.TensorProto.FLOAT, values):
            continue
        half = numpy_helper.from_array(values.astype(np.float16), f"{tensor.name}.half")
        cast = onnx.helper.make_node("Cast", [half.name], [tensor.name], to=onnx.TensorProto.FLOAT)
        casts.append(cast)
        graph.initializer.remove(tensor)
        graph.initializer.append(half)
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def _halves(name: str, is_float: bool, values: NDArray[Any]) -> bool:
    """Whether a tensor is stored as fp16: not a small one, nor one with a value beyond its range,
    nor what a whole graph decodes by.
    """
    if not is_float or values.size < 64 or name.startswith("decode."):
        return False
    return bool(np.abs(values).max() <= np.finfo(np.float16).max)
