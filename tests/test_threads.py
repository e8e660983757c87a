"""One predictor, many users: threads, the child of a fork, a process that unpickles it."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest

from poised import ImagePoses, Predictor
from poised.boxes.detector import Detector
from poised.runtime import Session

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
FORK = """
import os, sys
import numpy as np
from poised.runtime import Session

session = Session("coco17", {engine!r})
images = np.random.default_rng(0).normal(size=(4, 3, 256, 192)).astype(np.float32)
want = session.run(images)["heatmaps"]
child = os.fork()
if child == 0:
    np.testing.assert_allclose(session.run(images)["heatmaps"], want, atol=1e-4)
    {end}(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


ON_CORES = """
import os
from contextlib import suppress
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from poised.runtime import Session

session = Session("coco17-small", "openvino", threads={threads})
width, height = session.metadata["input_wh"]
images = np.zeros((16, 3, height, width), np.float32)
session.run(images)  # its threads are there, and compiling has ended
everywhere, seen = os.sched_getaffinity(0), set()
with ThreadPoolExecutor(1) as pool:
    running = pool.submit(session.run, images)
    while not running.done():
        for task in os.listdir("/proc/self/task"):
            with suppress(ProcessLookupError):
                seen.add(frozenset(os.sched_getaffinity(int(task))))
assert seen == {{frozenset(everywhere)}}, seen
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's /proc")
@pytest.mark.parametrize("threads", [1, None])
def test_no_network_keeps_to_a_core(threads: int | None) -> None:
    """While it runs, too: two processes of one thread each would have one core in common."""
    subprocess.run([sys.executable, "-c", ON_CORES.format(threads=threads)], check=True)


@pytest.fixture
def predictor() -> Predictor:
    return Predictor.load(threads=1, batch=2)


def numbers(poses: ImagePoses) -> np.ndarray:
    keypoints = np.concatenate([poses.xy, poses.keypoint_score[..., None]], axis=2)
    return np.column_stack([keypoints.reshape(len(poses), -1), poses.boxes.xywh, poses.score])


def test_eight_threads_get_what_one_gets(predictor: Predictor) -> None:
    """All at once, each the pictures in another order."""
    pictures = sorted(SAMPLES.glob("*.[jp][pn]g"))
    want = {path: numbers(predictor.predict(path)) for path in pictures}
    together = Barrier(8)

    def work(turn: int) -> list[tuple[Path, np.ndarray]]:
        together.wait()
        return [(p, numbers(predictor.predict(p))) for p in np.roll(pictures, turn)]

    with ThreadPoolExecutor(8) as pool:
        for rows in pool.map(work, range(8)):
            for path, row in rows:
                np.testing.assert_array_equal(row, want[path])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("engine", ["openvino", "onnx", "torch"])
def test_a_model_works_in_the_child_of_a_fork(engine: str) -> None:
    """And the child ends. (ONNX Runtime and torch wait at their own end for the parent's threads:
    there the child leaves as Python's multiprocessing does.)"""
    pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
    script = FORK.format(engine=engine, end="sys.exit" if engine == "openvino" else "os._exit")
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    environment["PYTHONPATH"] = str(Path(__file__).parents[1] / "src")
    done = subprocess.run(
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", "-c", script],
        env=environment, capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_is_pickled_works_again(predictor: Predictor) -> None:
    picture = SAMPLES / "basketball1.png"
    again = pickle.loads(pickle.dumps(predictor))
    np.testing.assert_array_equal(
        numbers(again.predict(picture)), numbers(predictor.predict(picture))
    )
    assert again.estimator.session is again.estimator.sessions[0]  # one model, opened once
    whole = pickle.loads(pickle.dumps(Predictor.load(detector=None, threads=1)))
    assert len(whole.predict(picture)) == 1
    detector = pickle.loads(pickle.dumps(Detector("person", threads=1, threshold=0.5)))
    assert detector.threshold == 0.5
    session = pickle.loads(pickle.dumps(Session("coco17", "onnx", 1)))
    assert (session.engine, session.threads) == ("onnx", 1)
    exact = pickle.loads(pickle.dumps(Session("person", "openvino", exact=True)))
    exact.run(np.zeros((1, 3, *exact.metadata["input_wh"][::-1]), np.float32))
    assert (exact.exact, exact.precision) == (True, "f32")
