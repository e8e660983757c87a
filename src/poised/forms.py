"""A model or its weights as a file of one of three forms: ONNX, OpenVINO's own, TorchScript."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from poised.crop_samples import Sample, network_inputs
from poised.estimate import Estimator
from poised.files import write_bytes, written_whole
from poised.openvino_model import read_openvino, write_openvino
from poised.reading import json_text
from poised.runtime import TORCHSCRIPT, ModelError, Session

Form = Literal["onnx", "openvino", "torchscript"]
ENDS: dict[Form, tuple[str, ...]] = {  # of their files' names
    "onnx": (".onnx",),
    "openvino": (".xml",),
    "torchscript": TORCHSCRIPT,
}


@dataclass(frozen=True)
class Wanted:
    """What is made of a model.

    source: an ONNX file of ours, or weights. whole: from crop to keypoints in one graph. halve:
    weights rounded to fp16; None: as the recipe says, or as the ONNX file has them. recipe: of the
    weights, where it is neither within nor beside them. people: whose crops calibrate int8; nobody:
    it is not int8.
    """

    source: Path
    whole: bool = False
    halve: bool | None = None
    recipe: Any = None
    people: Sequence[Sample] = ()

    @property
    def weights(self) -> Path | None:
        """The .safetensors that the source is, or that lies beside it."""
        path = self.source.with_suffix(".safetensors")
        return path if path.is_file() else None

    @property
    def needs_weights(self) -> bool:
        """Whether the graph is made anew: the source's own is another."""
        other = self.whole or self.halve is not None or bool(self.people)
        return other or self.source.suffix == ".safetensors"


def form_of(out: Path, asked: Form | None) -> Form:
    """The form to write, by the file's end; ValueError where that is no form's, or not `asked`."""
    by_end = next((form for form, ends in ENDS.items() if out.suffix in ends), None)
    if asked is not None and by_end != asked:
        raise ValueError(f"{out}: a file of the form {asked} ends in {' or '.join(ENDS[asked])}")
    if by_end is None:
        known = ", ".join(end for ends in ENDS.values() for end in ends)
        raise ValueError(f"{out}: its end is no form's; they are {known}")
    return by_end


def write_form(wanted: Wanted, out: Path, form: Form) -> Path:
    """Write what is wanted to `out`; raises ModelError where the source does not allow it."""
    if form == "torchscript":
        if wanted.people:
            raise ModelError("int8 is had as onnx and openvino, not as torchscript")
        from poised.export import export_torchscript

        return export_torchscript(_weights(wanted), out, wanted.halve, wanted.recipe, wanted.whole)
    if form == "onnx":
        return _write_onnx(wanted, out)
    if wanted.people:
        return _write_int8(wanted, out, form)
    with TemporaryDirectory() as folder:
        file = wanted.source
        if wanted.needs_weights:
            file = _write_onnx(wanted, Path(folder) / "model.onnx")
        return write_openvino(file, _checked(Session(file, "openvino")), out)


def _checked(session: Session) -> dict[str, Any]:
    """A model's metadata; ModelError where it is another's."""
    if not session.metadata:
        raise ModelError(f"{session.path}: not a model of ours: it does not say how it is fed")
    return session.metadata


def _write_onnx(wanted: Wanted, out: Path) -> Path:
    if not wanted.needs_weights:
        if wanted.source.suffix != ".onnx":
            raise ModelError(f"{wanted.source}: neither weights (.safetensors) nor an ONNX model")
        with TemporaryDirectory() as folder:  # it must be whole without what lies beside it
            alone, data = Path(folder) / wanted.source.name, wanted.source.read_bytes()
            alone.write_bytes(data)
            _checked(Session(alone))
            write_bytes(out, data)
        return out
    from poised.export import export_onnx

    if wanted.people:
        return _write_int8(wanted, out, "onnx")
    return export_onnx(_weights(wanted), out, wanted.halve, wanted.recipe, wanted.whole)


def _write_int8(wanted: Wanted, out: Path, form: Form) -> Path:
    """Calibrated on the people's crops; of the weights, whose batch norms are folded at fp32."""
    import onnx

    from poised.export import export_onnx
    from poised.quantise import quantised

    with TemporaryDirectory() as folder:
        file = Path(folder) / "fp32.onnx"
        session = Session(export_onnx(_weights(wanted), file, False, wanted.recipe, wanted.whole))
        notes = session.metadata | {"precision": "int8"}
        if notes["kind"] != "pose":
            raise ModelError(f"{wanted.source}: a detector; int8 is calibrated on people's crops")
        inputs = network_inputs(Estimator(session, flip=False), wanted.people)
        if form == "openvino":
            return write_openvino(
                quantised(read_openvino(file), inputs, by_channel=True), notes, out
            )
        small = quantised(onnx.load(str(file)), inputs, by_channel=False)
        onnx.helper.set_model_props(small, {"poised": json_text(notes)})
        with written_whole(out) as partial:
            onnx.save(small, str(partial))
        return out


def _weights(wanted: Wanted) -> Path:
    if wanted.weights is None:
        raise ModelError(
            f"{wanted.source}: another precision, a whole graph and torchscript are made of the "
            f"weights, {wanted.source.with_suffix('.safetensors').name}, which are not beside it"
        )
    return wanted.weights
