"""OpenVINO's networks, uncompiled: of an ONNX file or of its own form, an .xml with its .bin."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from poised.bundled import HERE
from poised.in_a_process import MEMORY, came_down, fatal
from poised.model_fields import ModelError
from poised.reading import json_text

_sound: set[tuple[Path, tuple[tuple[int, int], ...]]] = set()  # files, as they did no harm


def import_openvino() -> Any:
    """The module, which would report its own import over the network: its reporter is kept out."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def numbers_of(model: Path) -> Path:
    """The file with a model's numbers: its own, but the .bin beside an .xml."""
    return model.with_suffix(".bin") if model.suffix == ".xml" else model


def read_openvino(path: Path) -> Any:
    """The network of a file; raises what OpenVINO raises, and ModelError where it would come down.

    A damaged file can: one that is not of the package is first read in a process that may die.
    """
    file = path.absolute()  # not where a link leads: an .xml's .bin lies beside the link
    facts = [part.stat() for part in dict.fromkeys((file, numbers_of(file))) if part.is_file()]
    known = (file, tuple((part.st_mtime_ns, part.st_size) for part in facts))
    if known not in _sound and not file.resolve().is_relative_to(HERE.resolve()):
        code = fatal(_read, file, MEMORY + 4 * sum(part.st_size for part in facts))
        if code:
            raise ModelError(came_down(path, code))
        _sound.add(known)
    return _read(file)


def _read(path: Path) -> Any:
    return import_openvino().Core().read_model(path)


def write_openvino(model: Path | Any, metadata: Mapping[str, Any], out: Path) -> Path:
    """Write `out`, an .xml, and the .bin beside it, of an ONNX file or a model of OpenVINO's.

    The weights stay as precise as they are there: what is fp16 is not rounded again.
    """
    if isinstance(model, Path):
        model = read_openvino(model)
    model.set_rt_info(json_text(metadata), ["framework", "poised"])  # where ONNX's metadata go
    with TemporaryDirectory(dir=out.parent) as folder:
        partial = Path(folder) / "model.xml"
        import_openvino().save_model(model, partial, compress_to_fp16=False)
        os.replace(partial.with_suffix(".bin"), out.with_suffix(".bin"))
        os.replace(partial, out)
    return out
