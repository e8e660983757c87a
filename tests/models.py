"""Stand-in ONNX models, made by hand, whose answers are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from poised.types import Skeleton

DOTS = Skeleton.from_dict(
    {
        "name": "dots",
        "keypoints": ["left_dot", "right_dot", "middle_dot"],
        "pairs": [["left_dot", "right_dot"]],
        "limbs": [["left_dot", "right_dot"]],
        "groups": {"head": [], "upper": [], "lower": []},
        "sigmas": [0.1, 0.1, 0.1],
    }
)


def colour_model(path: Path, **changes: Any) -> Path:
    """A pose model whose keypoints are the reddest, greenest and bluest places of a crop.

    Heatmap k is channel k averaged over 4 x 4 crop pixels. Mirrored, red must be the left dot
    still, so its answer to a mirror image is exchanged by `flip_order` unless flip is off.
    """
    notes: dict[str, Any] = {
        "kind": "pose",
        "name": "dots",
        "skeleton": DOTS.to_dict(),
        "input_wh": [96, 128],
        "mean": [0, 0, 0],
        "std": [255, 255, 255],
        "padding": 1.25,
        "crop": "unbiased",
        "decoder": "unbiased",
        "stride": 4,
        "sigma": 1.5,
    } | changes
    pool = helper.make_node(
        "AveragePool", ["images"], ["heatmaps"], kernel_shape=[4, 4], strides=[4, 4]
    )
    return _save(path, [pool], {"heatmaps": ["N", 3, 32, 24]}, notes)


def fixed_detector(path: Path, boxes: list[list[float]], scores: list[float]) -> Path:
    """A detector of our own kind that always finds the same x1 y1 x2 y2 of a 64 x 64 input."""
    constants = {"scores": np.array([scores]), "boxes": np.array([boxes])}
    nodes = [
        helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32))
        )
        for name, value in constants.items()
    ]
    notes = {"kind": "detector", "name": "one", "input_wh": [64, 64], "mean": [0, 0, 0]}
    notes |= {"std": [1, 1, 1], "threshold": 0.3, "nms": 0.5}
    used = helper.make_node("Identity", ["images"], ["seen"])
    shapes = {"scores": [1, len(scores)], "boxes": [1, len(boxes), 4], "seen": ["N", 3, 64, 64]}
    return _save(path, [*nodes, used], shapes, notes, input_size=(64, 64))


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list[Any]],
    notes: dict[str, Any],
    input_size: tuple[int, int] = (128, 96),
) -> Path:
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, *input_size])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"poised": json.dumps(notes)})
    onnx.save(model, path)
    return path
