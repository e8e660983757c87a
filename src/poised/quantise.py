"""int8 by NNCF: weights and activations in a byte, their ranges seen on people's crops."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.openvino_model import import_openvino

MOST_CROPS = 300
KEPT = ("/decode/.*", "/normalise/.*")  # a whole graph's ends stay fp32: pixels, not features


def quantised(graph: Any, inputs: NDArray[np.floating[Any]], by_channel: bool) -> Any:
    """An fp32 graph of ours, ONNX's or OpenVINO's, at int8 wherever NNCF has that.

    inputs: (N, ...) what the network is fed of people like those it is for. by_channel: what a
    depthwise convolution is fed has a range for each channel, which costs less AP and which ONNX
    Runtime does not run. Raises ModuleNotFoundError without `nncf`.
    """
    import_openvino()  # first: NNCF would report its use over the network by OpenVINO's reporter
    import nncf
    from nncf.quantization.advanced_parameters import (
        AdvancedQuantizationParameters,
        QuantizationParameters,
    )

    logging.getLogger("nncf").setLevel(logging.ERROR)  # its own call sets other handlers too
    ranges = QuantizationParameters(per_channel=None if by_channel else False)
    return nncf.quantize(
        graph,
        nncf.Dataset([{"images": one[None]} for one in inputs]),
        subset_size=len(inputs),
        preset=nncf.QuantizationPreset.MIXED,
        ignored_scope=nncf.IgnoredScope(patterns=list(KEPT), validate=False),
        advanced_parameters=AdvancedQuantizationParameters(activations_quantization_params=ranges),
    )
