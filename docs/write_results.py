"""Write docs/results.md: the bundled models' figures on real data, and how they were made.

python docs/write_results.py ../shared/data
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from poised.evaluate import BoxesFrom, evaluate_model
from poised.metrics.evaluation import Evaluation
from poised.predict import Predictor

LOOSE = 0.8  # padding for LSPET's boxes: they are the joints' box enlarged by half already
RUNS: tuple[tuple[str, str, str, BoxesFrom, float | None], ...] = (  # data set, folder, part, boxes
    ("coco", "coco2017", "val2017", "truth", None),
    ("coco", "coco2017", "val2017", "detector", None),
    ("lspet", "lspet", "test", "truth", LOOSE),
)
HEAD = """# Results

The bundled models, `coco17` (pose) and `person` (detector), as `poised evaluate` measures them.
`python docs/write_results.py DATA` wrote this page. COCO: 500 of the 2,346 images of val2017 that
have people with keypoints, at most 512 pixels long, 1,416 people; people without keypoints and
crowds are not annotated, so that a pose of them counts as false. LSPET: its last 500 images. None
of these pictures was trained on.
"""


def section(done: Evaluation) -> str:
    rows = "\n".join(f"| {name} | {value:.1f} |" for name, value in done.figures.items())
    title = f"{done.protocol['dataset']} {done.protocol['split']}, boxes: {done.protocol['boxes']}"
    protocol = json.dumps(done.protocol, indent=1)
    return f"\n## {title}\n\n| figure | |\n|---|---|\n{rows}\n\n```json\n{protocol}\n```\n"


def main() -> None:
    data = Path(sys.argv[1])
    text = HEAD
    for dataset, folder, split, boxes, padding in RUNS:
        detector = "person" if boxes == "detector" else None
        predictor = Predictor.load("coco17", detector=detector, padding=padding)
        text += section(evaluate_model(predictor, dataset, data / folder, split, boxes))
    (Path(__file__).parent / "results.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
