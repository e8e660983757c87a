"""Stand-in ONNX models, made by hand, whose answers are known."""

from __future__ import annotations

import json
from collections.abc import Sequence
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


NOTES: dict[str, Any] = {  # of a model of ours
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
}
FOUND: dict[str, Any] = {  # of a detector of ours
    "kind": "detector",
    "name": "one",
    "input_wh": [64, 64],
    "mean": [0, 0, 0],
    "std": [1, 1, 1],
    "threshold": 0.3,
    "nms": 0.5,
}


def colour_model(path: Path, **changes: Any) -> Path:
    """A pose model whose keypoints are the reddest, greenest and bluest places of a crop.

    Heatmap k is channel k averaged over 4 x 4 crop pixels. Mirrored, red must be the left dot
    still, so its answer to a mirror image is exchanged by `flip_order` unless flip is off.
    """
    pool = helper.make_node(
        "AveragePool", ["images"], ["heatmaps"], kernel_shape=[4, 4], strides=[4, 4]
    )
    return _save(path, [pool], {"heatmaps": ["N", 3, 32, 24]}, NOTES | changes)


def fussy_model(path: Path, broken: bool = False) -> Path:
    """`colour_model` whose maps are divided by the brightest value of the crop: a black one's are
    NaN. broken: they are divided by zero, whatever it sees."""
    nodes = [
        helper.make_node(
            "AveragePool", ["images"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]
        ),
        helper.make_node("ReduceMax", ["images"], ["top"], axes=[1, 2, 3]),
        helper.make_node("Sub", ["top", "top"], ["zero"]),
        helper.make_node("Div", ["pooled", "zero" if broken else "top"], ["heatmaps"]),
    ]
    return _save(path, nodes, {"heatmaps": ["N", 3, 32, 24]}, NOTES)


def fussy_detector(path: Path, broken: bool = False) -> Path:
    """`fixed_detector` of one box, whose score is NaN of a black image, else 1; see above."""
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["top"], keepdims=0),
        helper.make_node("Sub", ["top", "top"], ["zero"]),
        helper.make_node("Div", ["top", "zero" if broken else "top"], ["one"]),
        helper.make_node("Reshape", ["one", "shape"], ["scores"]),
        helper.make_node(
            "Constant",
            [],
            ["boxes"],
            value=numpy_helper.from_array(np.array([[[4, 4, 60, 60]]], np.float32)),
        ),
    ]
    shape = numpy_helper.from_array(np.array([1, 1]), "shape")
    shapes = {"scores": [1, 1], "boxes": [1, 1, 4]}
    return _save(path, nodes, shapes, FOUND, ("N", 3, 64, 64), [shape])


def fixed_detector(path: Path, boxes: list[list[float]], scores: list[float]) -> Path:
    """A detector of our own kind that always finds the same x1 y1 x2 y2 of a 64 x 64 input."""
    constants = {"scores": np.array([scores]), "boxes": np.array([boxes])}
    nodes = [
        helper.make_node(
            "Constant", [], [name], value=numpy_helper.from_array(value.astype(np.float32))
        )
        for name, value in constants.items()
    ]
    used = helper.make_node("Identity", ["images"], ["seen"])
    shapes = {"scores": [1, len(scores)], "boxes": [1, len(boxes), 4], "seen": ["N", 3, 64, 64]}
    return _save(path, [*nodes, used], shapes, FOUND, input_shape=("N", 3, 64, 64))


def simcc_model(
    path: Path,
    keypoints: int = 17,
    people: int | str = "N",
    wh: tuple[int, int] = (192, 256),
    said: bool = True,
) -> Path:
    """SimCC's outputs of random weights: two convolutions and a matrix each for x and y.

    people: the number of images it takes, or a name where it is free. said: the outputs' sizes.
    """
    rng = np.random.default_rng(0)
    cells = (wh[0] // 16) * (wh[1] // 16)
    weights = {
        "stem": rng.normal(0, 0.02, (16, 3, 16, 16)),
        "head": rng.normal(0, 0.3, (keypoints, 16, 3, 3)),
        "to_x": rng.normal(0, 0.1, (cells, 2 * wh[0])),
        "to_y": rng.normal(0, 0.1, (cells, 2 * wh[1])),
    }
    shape = numpy_helper.from_array(np.array([0, keypoints, cells]), "shape")
    unsaid = [  # the shape plus 0 x the brightest pixel, which no engine sees through
        helper.make_node("ReduceMax", ["images"], ["top"], keepdims=0),
        helper.make_node("Sub", ["top", "top"], ["nothing"]),
        helper.make_node("Cast", ["nothing"], ["zero"], to=TensorProto.INT64),
        helper.make_node("Add", ["shape", "zero"], ["somehow"]),
    ]
    nodes = [
        *([] if said else unsaid),
        helper.make_node("Conv", ["images", "stem"], ["seen"], strides=[16, 16]),
        helper.make_node("Relu", ["seen"], ["positive"]),
        helper.make_node("Conv", ["positive", "head"], ["maps"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["maps", "shape" if said else "somehow"], ["flat"]),
        helper.make_node("MatMul", ["flat", "to_x"], ["simcc_x"]),
        helper.make_node("MatMul", ["flat", "to_y"], ["simcc_y"]),
    ]
    outputs = {
        "simcc_x": [people, keypoints, 2 * wh[0]],
        "simcc_y": [people, keypoints, 2 * wh[1]],
    }
    if not said:
        outputs = {name: [people, f"{name}_1", f"{name}_2"] for name in outputs}
    tensors = [numpy_helper.from_array(v.astype(np.float32), n) for n, v in weights.items()]
    return _save(path, nodes, outputs, None, [people, 3, wh[1], wh[0]], [*tensors, shape])


def colour_maps(path: Path) -> Path:
    """`colour_model` as other people's file: heatmaps, and nothing said of them."""
    pool = helper.make_node(
        "AveragePool", ["images"], ["output"], kernel_shape=[4, 4], strides=[4, 4]
    )
    return _save(path, [pool], {"output": ["N", 3, 32, 24]}, None)


def constant_model(
    path: Path,
    name: str,
    value: np.ndarray,
    input_shape: list[Any],
    integers: bool = False,
    notes: dict[str, Any] | None = None,
) -> Path:
    """A model that answers the same whatever it sees; notes: what it says of itself, if ours."""
    constant = numpy_helper.from_array(value.astype(np.float32))
    nodes = [
        helper.make_node("Constant", [], [name], value=constant),
        helper.make_node("Identity", ["images"], ["seen"]),
    ]
    kind = TensorProto.INT32 if integers else TensorProto.FLOAT
    return _save(path, nodes, {name: list(value.shape)}, notes, input_shape, kind=kind)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    outputs: dict[str, list[Any]],
    notes: dict[str, Any] | None,
    input_shape: Sequence[Any] = ("N", 3, 128, 96),
    tensors: Sequence[onnx.TensorProto] = (),
    kind: int = TensorProto.FLOAT,
) -> Path:
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("images", kind, input_shape)],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if notes is not None:
        helper.set_model_props(model, {"poised": json.dumps(notes)})
    onnx.save(model, path)
    return path
