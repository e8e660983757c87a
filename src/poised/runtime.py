"""One interface to three engines: OpenVINO (default on a CPU), ONNX Runtime, torch."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from poised.at_once import cores
from poised.bundled import HERE, bundled_models
from poised.model_fields import BadAnswer, checked_own, output_names, parse_own
from poised.model_fields import ModelError as ModelError
from poised.openvino_model import import_openvino, numbers_of, read_openvino
from poised.reading import LARGEST

Engine = Literal["auto", "openvino", "onnx", "torch"]
ENGINES: tuple[Engine, ...] = ("auto", "openvino", "onnx", "torch")
BROUGHT_BY: dict[Engine, str] = {
    "openvino": "poised",
    "onnx": "poised[onnx]",
    "torch": "poised[train]",
}
TORCHSCRIPT = (".pt", ".torchscript")  # ends of file names
# the engine that alone reads a kind of file; the others are ONNX
READ_BY: dict[str, Engine] = {".safetensors": "torch", ".xml": "openvino"}
READ_BY |= dict.fromkeys(TORCHSCRIPT, "torch")
ONNX_TYPES = {"tensor(float16)": np.float16, "tensor(int32)": np.int32, "tensor(uint8)": np.uint8}
Run = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]


def find_model(name_or_path: str | Path) -> Path:
    """The file of a bundled model's name, or of a path; raises ModelError."""
    path = Path(name_or_path)
    if path.is_file():
        return path
    if str(name_or_path) in bundled_models():
        return HERE / "models" / f"{name_or_path}.onnx"
    known = ", ".join(bundled_models()) or "none"
    raise ModelError(f"no model file {name_or_path}, and no bundled model of that name ({known})")


class Session:
    """A model file, compiled and ready: `run(images) -> {output name: array}`.

    Threads may share one. It is pickled as its path and options, and opened anew from there and in
    the child of a fork, which has none of the engine's threads. (Fork while no thread runs a model:
    the engine's locks are copied as they stand; and leave by `os._exit`, as multiprocessing's
    children do: what a dropped model or the interpreter's end tears down waits for those threads.)

    callers:      how many it is meant for at once; of several, each has one core.
    exact:        in fp32 also where the processor has a faster format, as POISED_EXACT=1 has all.
    metadata:     what poised wrote into the file, or {} for a foreign one.
    input_shape:  of the only input, None where a dimension is free; input_dtype: of its numbers.
    output_shapes: by name, in the file's order.
    precision:    in which the engine computes here, bf16 where the processor has it.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        engine: Engine = "auto",
        threads: int | None = None,
        callers: int = 1,
        exact: bool = False,
    ) -> None:
        if engine not in ENGINES:
            raise ModelError(f"no engine {engine!r}; known: {', '.join(ENGINES)}")
        if threads is not None and threads < 1:
            raise ModelError(f"threads is {threads}, must be at least 1")
        self.path = find_model(name_or_path).absolute()
        only = READ_BY.get(self.path.suffix)
        if engine == "auto":
            engine = only or ("openvino" if find_spec("openvino") else "onnx")
        elif only is not None and engine != only:
            wanted = Path(name_or_path).with_suffix(".onnx")
            made = f"`poised export {name_or_path} --out {wanted}` makes it; or "
            raise ModelError(
                f"{self.path}: engine {engine} reads ONNX: "
                f"{made if self.path.suffix == '.safetensors' else ''}take engine {only}"
            )
        self.engine: Engine = engine
        self.threads, self.callers = threads, callers
        self.exact = exact or bool(os.environ.get("POISED_EXACT"))
        self._streamed: Session | None = None
        self.metadata: dict[str, Any] = {}
        self.input_name = ""
        self.input_shape: tuple[int | None, ...] = ()
        self.input_dtype: np.dtype[Any] = np.dtype(np.float32)
        self.output_shapes: dict[str, tuple[int | None, ...]] = {}
        self.precision = "f32"
        self._open(threads)

    def __reduce__(self) -> tuple[type[Session], tuple[Path, Engine, int | None, int, bool]]:
        return Session, (self.path, self.engine, self.threads, self.callers, self.exact)

    @property
    def at_once(self) -> int:
        """How many callers `streamed` serves: one by torch, whose threads are the process's."""
        if self.engine == "torch":
            return 1
        return cores() if self.threads is None else self.threads

    def streamed(self) -> Session:
        """The same for a caller on every core: no call waits for another's, nor for its own parts.

        Compiled when it is first asked for, and kept.
        """
        if self.callers == self.at_once:
            return self
        if self._streamed is None:
            twin = Session.__new__(Session)
            twin.__dict__.update(self.__dict__)  # the file, which may be gone, is not read again
            twin.callers, twin._run = self.at_once, self._compile(self.at_once)
            self._streamed = twin
        return self._streamed

    def _open(self, threads: int | None) -> None:
        opener = {"openvino": self._openvino, "onnx": self._onnx, "torch": self._torch}[self.engine]
        with self._named():
            self._compile: Callable[[int], Run] = opener(threads)  # for so many callers at once
            self._run = self._compile(self.callers)
        if self.metadata:
            self._check_own()
        self._process = os.getpid()

    def _check_own(self) -> None:
        """Raise ModelError where the metadata of a model of ours does not fit its graph."""
        width, height = self.metadata["input_wh"]
        wanted = (height, width, 3) if self.metadata.get("nhwc") else (3, height, width)
        there = self.input_shape[1:]
        if len(there) != 3 or any(b not in (None, a) for a, b in zip(wanted, there, strict=True)):
            raise ModelError(f"{self.path}: takes images {there}, its metadata say {wanted}")
        names = self.metadata.get("roles", {name: name for name in output_names(self.metadata)})
        absent = [name for name in names.values() if name not in self.output_shapes]
        if absent:
            raise ModelError(f"{self.path}: gives {', '.join(self.output_shapes)}, no {absent[0]}")

    @contextmanager
    def _named(self) -> Iterator[None]:
        """What goes wrong with the file or the engine, as a ModelError that names it."""
        engine = self.engine
        try:
            yield
        except ImportError as error:
            package = BROUGHT_BY[engine]
            raise ModelError(
                f"engine {engine} is not installed: pip install '{package}'"
            ) from error
        except ModelError:
            raise
        except Exception as error:  # the engines raise their own kinds for a file they cannot read
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else repr(error)
            kind = "a" if self.path.suffix in READ_BY else "an ONNX"
            raise ModelError(
                f"{self.path}: not {kind} model that {engine} reads: {reason}"
            ) from error

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """images (N, 3, H, W) float32 -> every output by name.

        A file of a fixed number of images is run as often as needed, the last time filled up.
        """
        if os.getpid() != self._process:
            # never freed: what is left of its threads would be waited for, for ever
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._run))
            self._open(1 if self.engine == "torch" else self.threads)  # OpenMP has no threads here
        with self._named():
            found = self._answers(images)
        for name, values in found.items():
            if values.size and not -LARGEST < values.min() <= values.max() < LARGEST:  # NaN too
                raise BadAnswer(f"{self.path}: its output {name} has what is no finite number")
        return found

    def _answers(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        fixed = self.input_shape[0] if self.input_shape else None
        if fixed is None or fixed == len(images):
            found = self._each(images)
        else:
            missing = -len(images) % fixed
            filled = np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.float32)])
            parts = [self._each(filled[at : at + fixed]) for at in range(0, len(filled), fixed)]
            found = [np.concatenate(same)[: len(images)] for same in zip(*parts, strict=True)]
        return dict(zip(self.output_shapes, found, strict=True))

    def _each(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Every output, which must have an answer for each image."""
        found = self._run(images)
        if any(values.shape[:1] != images.shape[:1] for values in found):
            pairs = zip(self.output_shapes, found, strict=True)
            told = ", ".join(f"{name} {list(values.shape)}" for name, values in pairs)
            raise ModelError(
                f"{self.path}: gives {told} for {len(images)} images; export it with a free "
                "number of images, or with a fixed one"
            )
        return found

    def _openvino(self, threads: int | None) -> Callable[[int], Run]:
        core = import_openvino().Core()
        weights = numbers_of(self.path)
        if not weights.is_file():
            raise ModelError(f"{self.path}: its weights, {weights.name}, are not beside it")
        model = read_openvino(self.path)
        if model.has_rt_info(["framework", "poised"]):
            notes = model.get_rt_info(["framework", "poised"]).astype(str)
            self.metadata = parse_own(notes, str(self.path))
        self._describe([(i.get_any_name(), i.get_partial_shape()) for i in model.inputs])
        self.input_dtype = np.dtype(model.inputs[0].get_element_type().to_dtype())
        for output in model.outputs:
            self.output_shapes[output.get_any_name()] = _free(output.get_partial_shape())

        def compiled(callers: int) -> Run:
            options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
            if callers > 1:
                options = {"NUM_STREAMS": callers, "INFERENCE_NUM_THREADS": callers}
            elif threads is not None:
                options["INFERENCE_NUM_THREADS"] = threads
            options["ENABLE_CPU_PINNING"] = False  # two networks, or processes, would share a core
            if self.exact:
                options["INFERENCE_PRECISION_HINT"] = "f32"
            ready: list[Any] = []  # when it is first run: often the `streamed` one alone is
            idle: list[Any] = []  # a request serves one thread at a time
            lock = threading.Lock()

            def taken() -> Any:
                with lock, self._named():
                    if not ready:
                        ready.append(core.compile_model(model, "CPU", options))
                        precision = ready[0].get_property("INFERENCE_PRECISION_HINT")
                        self.precision = precision.to_string()
                    return idle.pop() if idle else ready[0].create_infer_request()

            def run(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
                request = taken()
                try:
                    request.infer([images.astype(self.input_dtype, copy=False)], share_inputs=True)
                    return [np.array(tensor.data) for tensor in request.output_tensors]
                finally:
                    idle.append(request)

            return run

        return compiled

    def _onnx(self, threads: int | None) -> Callable[[int], Run]:
        import onnxruntime

        def opened(callers: int) -> Any:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            if callers > 1:
                options.intra_op_num_threads = 1
            elif threads is not None:
                options.intra_op_num_threads = threads
            return onnxruntime.InferenceSession(
                str(self.path), options, providers=["CPUExecutionProvider"]
            )

        first = opened(self.callers)
        notes = first.get_modelmeta().custom_metadata_map
        if "poised" in notes:
            self.metadata = parse_own(notes["poised"], str(self.path))
        self._describe([(i.name, i.shape) for i in first.get_inputs()])
        self.input_dtype = np.dtype(ONNX_TYPES.get(first.get_inputs()[0].type, np.float32))
        for output in first.get_outputs():
            self.output_shapes[output.name] = _free(output.shape)

        def compiled(callers: int) -> Run:
            session = first if callers == self.callers else opened(callers)

            def run(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
                fed = images.astype(self.input_dtype, copy=False)
                return list(session.run(None, {self.input_name: fed}))

            return run

        return compiled

    def _torch(self, threads: int | None) -> Callable[[int], Run]:
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self.path.suffix in TORCHSCRIPT:
            from poised.torchscript import open_torchscript

            module, self.metadata = open_torchscript(self.path, device)
        else:
            module, self.metadata = self._network()
            module.to(device)
        width, height = self.metadata["input_wh"]
        nhwc = self.metadata.get("nhwc")
        self.input_name = "images"
        self.input_shape = (None, height, width, 3) if nhwc else (None, 3, height, width)
        self.input_dtype = np.dtype(np.uint8 if nhwc else np.float32)
        self.output_shapes = dict.fromkeys(output_names(self.metadata), ())

        def run(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
            fed = images.astype(self.input_dtype, copy=False)
            with torch.inference_mode():
                outputs = module(torch.from_numpy(fed).to(device))
            every = outputs if isinstance(outputs, tuple) else (outputs,)
            return [output.cpu().numpy() for output in every]

        return lambda _: run

    def _network(self) -> tuple[Any, dict[str, Any]]:
        """The network of the weights that lie beside a model, or are it, and its metadata."""
        from poised.export import exported, model_metadata

        weights = self.path.with_suffix(".safetensors")
        if not weights.is_file():
            raise ModelError(f"engine torch needs {weights} beside {self.path.name}; it is absent")
        try:
            module, recipe, skeleton = exported(weights)
        except (ValueError, OSError) as error:  # they name the file and what to do
            raise ModelError(str(error)) from error
        return module, checked_own(model_metadata(recipe, skeleton), str(weights))

    def _describe(self, inputs: list[tuple[str, Any]]) -> None:
        if len(inputs) != 1:
            raise ModelError(f"{self.path}: has {len(inputs)} inputs, expected one of images")
        self.input_name, self.input_shape = inputs[0][0], _free(inputs[0][1])


def _free(shape: Any) -> tuple[int | None, ...]:
    """An engine's shape as numbers, None where a dimension is free; () where their count is."""
    if getattr(getattr(shape, "rank", None), "is_dynamic", False):
        return ()
    sides = [side.get_length() if getattr(side, "is_static", False) else side for side in shape]
    return tuple(side if isinstance(side, int) else None for side in sides)
