"""The public checkpoints of other projects as weights of ours: names, order, colours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from poised.checkpoint import normalised_as, recipe_network, save_tensors
from poised.nets import build, movenet, rtmdet
from poised.nets.resnet import BLOCKS
from poised.pretrained import WeightsError, check_fit, read_checkpoint
from poised.recipe import Recipe

# Other projects' names -> ours: the first pattern that matches the whole key is used.
# A number that another project counts from the coarsest level is turned round by `{3-n}`.
Rules = tuple[tuple[str, str], ...]

BACKBONE = r"((?:conv1|bn1|layer\d)\..*)"
KEY_TABLES: dict[str, Rules] = {
    "sbn-hrnet": (  # leoxiaobin/deep-high-resolution-net.pytorch, microsoft/human-pose-estimation
        (r"((?:deconv_layers|final_layer)\..*)", r"\1"),
        (BACKBONE, r"backbone.\1"),
    ),
    "hrnet": ((r"(final_layer\..*)", r"\1"), (r"(.*)", r"backbone.\1")),  # the former
    "hourglass": (  # bearpaw/pytorch-pose
        (r"conv1\.(.*)", r"stem.0.\1"),
        (r"bn1\.(.*)", r"stem.1.\1"),
        (r"layer1\.0\.(.*)", r"stem.3.\1"),
        (r"layer2\.0\.(.*)", r"stem.5.\1"),
        (r"layer3\.0\.(.*)", r"stem.6.\1"),
        (r"hg\.(\d+)\.hg\.(\d)\.0\.(.*)", r"hourglasses.\1.side.\2.\3"),
        (r"hg\.(\d+)\.hg\.(\d)\.1\.(.*)", r"hourglasses.\1.down.\2.\3"),
        (r"hg\.(\d+)\.hg\.(\d)\.2\.(.*)", r"hourglasses.\1.up.\2.\3"),
        (r"hg\.(\d+)\.hg\.0\.3\.(.*)", r"hourglasses.\1.bottom.\2"),
        (r"res\.(\d+)\.(.*)", r"after.\1.0.\2"),
        (r"fc\.(\d+)\.0\.(.*)", r"after.\1.1.\2"),
        (r"fc\.(\d+)\.1\.(.*)", r"after.\1.2.\2"),
        (r"score\.(.*)", r"predict.\1"),
        (r"fc_\.(\d+)\.(.*)", r"back.\1.features.\2"),
        (r"score_\.(\d+)\.(.*)", r"back.\1.maps.\2"),
    ),
    "cpn-pytorch": (  # GengDavid/pytorch-cpn
        (r"resnet\.(.*)", r"backbone.\1"),
        (r"global_net\.laterals\.(\d)\.(.*)", r"global_net.lateral.{3-\1}.\2"),
        (r"global_net\.upsamples\.(\d)\.1\.(.*)", r"global_net.before_sum.{2-\1}.0.\2"),
        (r"global_net\.upsamples\.(\d)\.2\.(.*)", r"global_net.before_sum.{2-\1}.1.\2"),
        (r"global_net\.predict\.(\d)\.([01])\.(.*)", r"global_net.predict.{3-\1}.0.\2.\3"),
        (r"global_net\.predict\.(\d)\.3\.(.*)", r"global_net.predict.{3-\1}.1.\2"),
        (r"global_net\.predict\.(\d)\.5\.(.*)", r"global_net.norm.{3-\1}.\2"),
        (r"refine_net\.cascade\.(\d)\.(\d)\.(.*)", r"refine_net.cascade.{3-\1}.\2.\3"),
        (r"refine_net\.final_predict\.0\.(.*)", r"refine_net.fuse.\1"),
        (r"refine_net\.final_predict\.1\.(.*)", r"refine_net.predict.0.\1"),
        (r"refine_net\.final_predict\.2\.(.*)", r"refine_net.predict.1.\1"),
    ),
}
# networks published as ONNX files: the arguments of `nets.build`, and what reads their tensors
ONNX_FILES: dict[str, tuple[dict[str, Any], Callable[[Path], dict[str, Tensor]]]] = {
    "movenet": ({"network": "movenet", "joints": 17}, movenet.read_published),
    "rtmdet": ({"network": "rtmdet", "joints": rtmdet.CHANNELS}, rtmdet.read_published),
}
# how their images are normalised, where it is not by ImageNet's mean and deviation: of R, G, B
INPUTS: dict[str, dict[str, list[float]]] = {
    "movenet": {"mean": [127.5] * 3, "std": [127.5] * 3},
    # BGR images, as if they were RGB
    "sbn-hrnet": {"mean": [103.53, 116.28, 123.675], "std": [57.375, 57.12, 58.395]},
    "hourglass": {"mean": [112.302, 113.22, 110.3385], "std": [255.0] * 3},  # MPII's mean alone
    "cpn-pytorch": {"mean": [122.7717, 115.9465, 102.9801], "std": [255.0] * 3},
}
PARTS = {  # within a block
    "hourglass": ((r"downsample\.0\.", "shortcut."),),
    "cpn-pytorch": tuple(
        (rf"(refine_net\..*){theirs}\.", rf"\g<1>{ours}.")
        for theirs, ours in (
            ("conv1", "body.0.0"),
            ("bn1", "body.0.1"),
            ("conv2", "body.1.0"),
            ("bn2", "body.1.1"),
            ("conv3", "body.2"),
            ("bn3", "body.3"),
            ("downsample", "shortcut"),
        )
    ),
}


def rename(key: str, kind: str) -> str | None:
    """Another project's name of a tensor as ours; None where its table has none."""
    for pattern, ours in KEY_TABLES[kind]:
        match = re.fullmatch(pattern, key)
        if match:
            name = re.sub(
                r"\{(\d)-(\d)\}", lambda m: str(int(m[1]) - int(m[2])), match.expand(ours)
            )
            for theirs, mine in PARTS.get(kind, ()):
                name = re.sub(theirs, mine, name)
            return name
    return None


def network_kind(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, object]:
    """The arguments of `nets.build` that give a checkpoint's network, told by its keys."""

    def count(pattern: str) -> int:
        return len({m[1] for key in tensors if (m := re.match(pattern, key))})

    def depth(prefix: str) -> int:
        is_basic = not any(key.startswith(f"{prefix}layer1.0.conv3") for key in tensors)
        blocks = tuple(
            count(rf"{re.escape(prefix)}layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)
        )
        for number, known in BLOCKS.items():
            if known == blocks and (number < 50) == is_basic:
                return number
        raise WeightsError(f"no ResNet has {blocks} blocks in its stages")

    def joints(key: str) -> int:
        if key not in tensors:
            raise WeightsError(f"no {key}: this is not a checkpoint of {kind}")
        return int(tensors[key].shape[0])

    if kind == "sbn-hrnet":
        return {
            "network": "simple_baseline",
            "joints": joints("final_layer.weight"),
            "depth": depth(""),
        }
    if kind == "hrnet":
        streams = tensors["final_layer.weight"].shape[1] if "final_layer.weight" in tensors else 0
        return {"network": "hrnet", "joints": joints("final_layer.weight"), "streams": streams}
    if kind == "hourglass":
        number = joints("score.0.weight")
        return {
            "network": "hourglass",
            "joints": number,
            "stacks": count(r"hg\.(\d+)\."),
            "blocks": count(r"hg\.0\.hg\.0\.0\.(\d+)\."),
        }
    number = joints("refine_net.final_predict.1.weight")
    return {"network": "cpn", "joints": number, "backbone": depth("resnet.")}


def import_weights(
    path: Path, kind: str, out: Path, recipe: Recipe | None = None
) -> dict[str, Any]:
    """Read another project's trained network, write ours; kind: a key of KEY_TABLES or ONNX_FILES.

    recipe: how the network is used, written beside the weights into the file, with the other
    project's mean and deviation, which stand there in any case (INPUTS). Returns the arguments
    of `nets.build`, which also stand there. WeightsError lists the keys that have no place, or are
    missing, or have another shape. "sbn-hrnet" sees BGR, ours RGB: its first convolution is turned
    round.
    """
    if kind in ONNX_FILES:
        described, read = ONNX_FILES[kind]
        ours = read(path)
    elif kind in KEY_TABLES:
        tensors = read_checkpoint(path)
        try:
            described = network_kind(kind, tensors)
        except (WeightsError, LookupError) as error:
            raise WeightsError(f"{path}: {error}") from error
        ours = _renamed(tensors, kind, path)
    else:
        known = ", ".join([*ONNX_FILES, *KEY_TABLES])
        raise WeightsError(f"no format {kind!r}; known: {known}")
    if recipe is not None:
        described = recipe_network(recipe, described, str(path))
    with torch.device("meta"):
        network = build(**described)
    check_fit(network, ours, str(path))
    notes: dict[str, Any] = {"network": described}
    if kind in INPUTS:
        notes["input"] = INPUTS[kind]
    if recipe is not None:
        notes["recipe"] = normalised_as(recipe, notes).model_dump(mode="json")
    save_tensors(out, ours, notes)
    return described


def _renamed(tensors: Mapping[str, Tensor], kind: str, path: Path) -> dict[str, Tensor]:
    """Another project's tensors under our names; WeightsError lists those that have none."""
    names = {key: rename(key, kind) for key in tensors}
    unmatched = [key for key, name in names.items() if name is None]
    if unmatched:
        raise WeightsError(f"{path}: {len(unmatched)} keys unmatched: {', '.join(unmatched)}")
    ours = {name: tensors[key] for key, name in names.items() if name is not None}
    if kind == "sbn-hrnet":
        ours["backbone.conv1.weight"] = ours["backbone.conv1.weight"].flip(1)
    return ours
