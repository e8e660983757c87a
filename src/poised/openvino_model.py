"""An ONNX model in OpenVINO's own form: an .xml with its .bin."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poised.reading import json_text
from poised.runtime import import_openvino


def write_openvino(model: Path | Any, metadata: Mapping[str, Any], out: Path) -> Path:
    """Write `out`, an .xml, and the .bin beside it, of an ONNX file or a model of OpenVINO's.

    The weights stay as precise as they are there: what is fp16 is not rounded again.
    """
    openvino = import_openvino()
    if isinstance(model, Path):
        model = openvino.Core().read_model(model)
    model.set_rt_info(json_text(metadata), ["framework", "poised"])  # where ONNX's metadata go
    with TemporaryDirectory(dir=out.parent) as folder:
        partial = Path(folder) / "model.xml"
        openvino.save_model(model, partial, compress_to_fp16=False)
        os.replace(partial.with_suffix(".bin"), out.with_suffix(".bin"))
        os.replace(partial, out)
    return out
