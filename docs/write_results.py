"""Write docs/results.md: the bundled models' figures on real data, and how they were made.

python docs/write_results.py ../shared/data
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from poised.compare import share_interval
from poised.evaluate import BoxesFrom, evaluate_model
from poised.metrics.evaluation import Evaluation
from poised.predict import Predictor

LOOSE = 0.8  # padding for LSPET's boxes: they are the joints' box enlarged by half already
MODELS = ("coco17", "coco17-small")
RUNS: tuple[tuple[str, str, str, BoxesFrom, float | None], ...] = (  # data set, folder, part, boxes
    ("coco", "coco2017", "val2017", "truth", None),
    ("coco", "coco2017", "val2017", "detector", None),
    ("lspet", "lspet", "test", "truth", LOOSE),
)
SCORED = {"coco": "mean OKS of people, 0 below 0.5", "lspet": "joints within PCK's limit, all"}
HEAD = """# Results

The bundled models, `coco17` and `coco17-small` (poses) and `person` (detector), by `poised
evaluate`.
`python docs/write_results.py DATA` wrote this page. COCO: 500 of the 2,346 images of val2017 that
have people with keypoints, at most 512 pixels long, 1,416 people; people without keypoints and
crowds are not annotated, so that a pose of them counts as false. LSPET: its last 500 images. None
of these pictures was trained on. The last row of a table has a 95% interval, from drawing the
images anew (`poised compare`).
"""


def section(model: str, done: Evaluation) -> str:
    """One run: its figures and protocol."""
    rows = [f"| {name} | {value:.1f} |" for name, value in done.figures.items()]
    low, high = share_interval(done.samples)
    share = 100 * sum(done.samples["scored"]) / sum(done.samples["possible"])
    what = SCORED[done.protocol["dataset"]]
    rows.append(f"| {what} | {share:.1f} ({low:.1f} to {high:.1f}) |")
    dataset, split, boxes = (done.protocol[name] for name in ("dataset", "split", "boxes"))
    title = f"{model}: {dataset} {split}, boxes: {boxes}"
    protocol = json.dumps(done.protocol, indent=1)
    table = "\n".join(rows)
    return f"\n## {title}\n\n| figure | |\n|---|---|\n{table}\n\n```json\n{protocol}\n```\n"


def main() -> None:
    data = Path(sys.argv[1])
    text = HEAD
    for model in MODELS:
        for dataset, folder, split, boxes, padding in RUNS:
            detector = "person" if boxes == "detector" else None
            predictor = Predictor.load(model, detector=detector, padding=padding)
            text += section(model, evaluate_model(predictor, dataset, data / folder, split, boxes))
    (Path(__file__).parent / "results.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
