"""How long does the page's own engine take in a browser, and how far are its poses from Python's?

python benchmarks/page.py ONNXRUNTIME_WEB [--repeats 5]

ONNXRUNTIME_WEB: the .tgz of `npm pack onnxruntime-web`, or its unpacked folder. Headless Chromium,
one thread, pictures of data/samples, flip. Seconds are of CPU, of all of the browser's processes,
so that other work on the machine hardly counts; the median on the clock stands beside them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
from common import machine

from poised import Predictor
from poised.serve.static_site import write_static

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from browser import Browser, chromium, served  # noqa: E402

SURE = 0.2  # a joint of a lower score has no meaning


def cpu_seconds(browser: Browser) -> float:
    """What the driver, the browser and its processes have used so far."""
    top = psutil.Process(browser.driver.service.process.pid)
    times = [one.cpu_times() for one in (top, *top.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def measure(browser: Browser, model: str, picture: Path, repeats: int) -> dict[str, object]:
    """CPU seconds a picture, and the distance from Python's poses."""
    browser.estimated(picture, model)  # networks are read
    start = cpu_seconds(browser)
    answers = [browser.estimated(picture, model) for _ in range(repeats)]
    used = (cpu_seconds(browser) - start) / repeats
    people = answers[0]["images"][0]["people"]
    want = Predictor.load(model, engine="onnx").predict(picture)
    xy = np.array([person["keypoints"] for person in people])
    away = np.linalg.norm(xy[..., :2] - want.xy, axis=-1)[want.keypoint_score > SURE]
    return {
        "model": model,
        "picture": picture.name,
        "people": len(people),
        "cpu_seconds": round(used, 2),
        "clock_seconds": round(statistics.median(one["seconds"] for one in answers), 2),
        "pixels_away": round(float(away.max()), 3),
        "score_away": round(float(np.abs(xy[..., 2] - want.keypoint_score).max()), 4),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runtime", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    pictures = sorted((ROOT / "data" / "samples").glob("*.[jp][pn]g"))
    with tempfile.TemporaryDirectory() as folder:
        write_static(Path(folder, "site"), runtime=given.runtime)
        with served(Path(folder, "site")) as address, chromium(Path(folder)) as browser:
            browser.open(address)
            for model in ("coco17", "coco17-small"):
                for picture in pictures:
                    print(json.dumps(measure(browser, model, picture, given.repeats)))
    print(json.dumps(machine()))
