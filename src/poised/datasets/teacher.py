"""A trained detector that labels the training pictures of ours: every cell's score and box."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.boxes.detector import RTMDET_MEAN, RTMDET_STD
from poised.nets.rtmdet import STRIDES
from poised.openvino_model import import_openvino, read_openvino
from poised.recipe import Teacher
from poised.runtime import ModelError

Floats = NDArray[np.float32]


class DenseTeacher:
    """picture (S, S, 3) RGB -> scores (M,) and boxes (M, 4) x1 y1 x2 y2 in its pixels, before NMS.

    An ONNX detector of RTMDet's kind, of which the recipe names the two inner tensors; of several
    classes the first is people. M is
    the number of cells of strides 8, 16 and 32, in this order and row by row. It is opened at
    the first call, in the process that calls. Raises ModelError for a file without such tensors.
    """

    def __init__(self, teacher: Teacher, size: int) -> None:
        self.teacher, self.size = teacher, size
        self.request: Any = None

    def __call__(self, picture: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        if self.request is None:
            self.request = self._open()
        normal = (picture - np.array(RTMDET_MEAN, np.float32)) / np.array(RTMDET_STD, np.float32)
        bgr = np.ascontiguousarray(normal[..., ::-1].transpose(2, 0, 1)[None], np.float32)
        self.request.infer([bgr], share_inputs=True)
        scores, boxes = (np.array(t.data, np.float32)[0] for t in self.request.output_tensors)
        return scores[:, 0], boxes

    def _open(self) -> Any:
        openvino, teacher = import_openvino(), self.teacher
        core = openvino.Core()
        if not teacher.file.is_file():
            raise FileNotFoundError(f"target.teacher.file: no {teacher.file}")
        whole = read_openvino(teacher.file)
        inner = {n: o for op in whole.get_ops() for o in op.outputs() for n in o.get_names()}
        missing = {teacher.scores, teacher.boxes} - set(inner)
        if missing:
            raise ModelError(f"{teacher.file}: has no tensor {', '.join(sorted(missing))}")
        outputs = [inner[teacher.scores], inner[teacher.boxes]]
        model = openvino.Model(outputs, whole.get_parameters())
        model.reshape([1, 3, self.size, self.size])
        cells = sum((self.size // stride) ** 2 for stride in STRIDES)
        shapes = [list(output.shape) for output in model.outputs]
        if shapes[0][:2] != [1, cells] or shapes[1] != [1, cells, 4]:
            raise ModelError(
                f"{teacher.file}: {teacher.scores} and {teacher.boxes} are {shapes}, expected "
                f"a score and four sides for each of {cells} cells of strides {STRIDES}"
            )
        one: dict[str, Any] = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        one["INFERENCE_PRECISION_HINT"] = "f32"  # the same lesson on every processor
        one["ENABLE_CPU_PINNING"] = False  # a data process each: pinned, they would share a core
        return core.compile_model(model, "CPU", one).create_infer_request()
