"""Whether every engine gives one answer to the same crops, and what rounding costs in AP or PCK."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from poised.crop_samples import Sample, batches
from poised.crops import apply
from poised.estimate import Estimator
from poised.evaluate import evaluate_model
from poised.forms import ENDS, Form, Wanted, write_form
from poised.predict import Predictor
from poised.runtime import Engine, Session
from poised.validate import main_figure

PIXELS, SCORE = 0.1, 1e-3  # of a crop, and of a keypoint's score: the most that engines may differ
MOST_PEOPLE = 64
PEAK = 0.05  # a keypoint's score; below it a map has no one place


@dataclass(frozen=True)
class Apart:
    """The most that an engine's keypoints, in crop pixels, and scores are away from the first's."""

    name: str
    pixels: float
    score: float

    @property
    def close(self) -> bool:
        """Whether that is within PIXELS and SCORE."""
        return self.pixels <= PIXELS and self.score <= SCORE


def every_engine(wanted: Wanted, written: Path, form: Form, folder: Path) -> dict[str, Session]:
    """What is wanted, opened by each engine that can: the written file and, where it is of one
    form, the others, made in `folder`; of an int8 model, which takes minutes, the file alone.
    """
    files: dict[Form, Path] = {form: written}
    missing = [] if wanted.people else [other for other in ENDS if other != form]
    if wanted.weights is None or not find_spec("torch"):
        missing = [other for other in missing if other != "torchscript"]
    for other in missing:
        file = folder / f"model{ENDS[other][0]}"
        as_it_is = other == "onnx" and not wanted.needs_weights
        files[other] = wanted.source if as_it_is else write_form(wanted, file, other)
    ways: tuple[tuple[str, Form, Engine, str], ...] = (
        ("torch, TorchScript", "torchscript", "torch", "torch"),
        ("ONNX Runtime, ONNX", "onnx", "onnx", "onnxruntime"),
        ("OpenVINO, ONNX", "onnx", "openvino", "openvino"),
        ("OpenVINO, its own", "openvino", "openvino", "openvino"),
    )
    return {
        name: Session(files[form], engine, exact=True)
        for name, form, engine, package in ways
        if form in files and find_spec(package)
    }


def compare_engines(sessions: Mapping[str, Session], people: Sequence[Sample]) -> list[Apart]:
    """How far the other sessions' answers lie from the first's, over all people.

    Keypoints of a score below PEAK are compared by their scores alone.
    """
    (_, first), *others = sessions.items()
    xy, score = _answers(first, people)
    sure = score > PEAK
    found = []
    for name, session in others:
        other_xy, other_score = _answers(session, people)
        away = np.linalg.norm(other_xy - xy, axis=-1)[sure]
        gap = np.abs(other_score - score)
        found.append(Apart(name, float(away.max(initial=0)), float(gap.max(initial=0))))
    return found


def _answers(
    session: Session, people: Sequence[Sample]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Keypoints (N, K, 2) in crop pixels and scores (N, K), without flip."""
    estimator = Estimator(session, flip=False)
    xy, score = [], []
    for images, xywh in batches(people):
        matrices = estimator.matrices(xywh)
        done = estimator.estimate(images, matrices, xywh)
        xy.append(apply(matrices, done.xy))
        score.append(done.score)
    return np.concatenate(xy), np.concatenate(score)


def scored(
    wanted: Wanted, written: Path, people: Sequence[Sample], where: tuple[str, Path, str]
) -> Iterator[tuple[str, str, float]]:
    """The data set's main figure of fp32, fp16 and int8 as they come: precision, its name, value.

    Annotated boxes, with flip unless the graph is whole. written: the file of what is wanted, where
    that is int8. people: for calibrating; nobody leaves out int8. where: data set, folder, part.
    Without weights at hand it is the source as it is, alone.
    """
    single = replace(wanted, people=(), halve=False)
    kinds = {"fp32": single, "fp16": replace(single, halve=True)}
    if people:
        kinds["int8"] = replace(single, people=people)
    if wanted.weights is None:
        kinds = {"as it is": wanted}
    dataset, root, split = where
    name = main_figure(dataset)
    for kind, one in kinds.items():
        with TemporaryDirectory() as folder:
            file = written
            if wanted.weights is not None and not (kind == "int8" and wanted.people):
                file = write_form(one, Path(folder) / "model.onnx", "onnx")
            predictor = Predictor.load(file, detector=None)
            done = evaluate_model(predictor, dataset, root, split, "truth")
            yield kind, name, done.figures[name]
