"""int8 by OpenVINO's NNCF: weights and activations in a byte, their ranges seen on crops."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.runtime import import_openvino

MOST_CROPS = 300
KEPT = ("/decode/.*", "/normalise/.*")  # a whole graph's ends stay fp32: pixels, not features


def quantised(model: Path, inputs: NDArray[np.floating[Any]]) -> Any:
    """A model of OpenVINO's from an ONNX file, at int8 wherever NNCF has that.

    inputs: (N, ...) what the network is fed of people like those it is for. Raises
    ModuleNotFoundError without `nncf`.
    """
    openvino = import_openvino()  # first: NNCF would report its use over the network by the same
    import nncf

    nncf.set_log_level(logging.ERROR)
    fed = nncf.Dataset([one[None] for one in inputs])
    return nncf.quantize(
        openvino.Core().read_model(model),
        fed,
        subset_size=len(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(patterns=list(KEPT), validate=False),
    )
