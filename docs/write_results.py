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
from poised.protocol import Protocol
from poised.read_recipe import load_recipe

# padding for LSPET's boxes, as trained: they are the joints' box enlarged by half already
LOOSE = 0.8
PYRAMID = load_recipe("lsp14").test.scales
RUNS: tuple[tuple[str, str, BoxesFrom, float | None, tuple[float, ...]], ...] = (
    ("lspet", "test", "truth", LOOSE, (1.0,)),
    ("lspet", "test", "truth", LOOSE, PYRAMID),
    ("coco", "val2017", "truth", None, (1.0,)),
    ("coco", "val2017", "detector", None, (1.0,)),
)
HEAD = """# Results

The bundled models, `lsp14` (pose) and `person` (detector), as `poised evaluate` measures them.
`python docs/write_results.py DATA` wrote this page. LSPET: its last 500 images, never trained on.
COCO: 40 images with 119 people; LSP-14 has no face, so the twelve keypoints that both skeletons
name count, for truth and predictions alike: no figure here can be put beside a paper's.
"""


def section(done: Evaluation) -> str:
    rows = "\n".join(f"| {name} | {value:.1f} |" for name, value in done.figures.items())
    title = f"{done.protocol['dataset']} {done.protocol['split']}, boxes: {done.protocol['boxes']}"
    if len(done.protocol["scales"]) > 1:
        title += f", {len(done.protocol['scales'])} scales"
    protocol = json.dumps(done.protocol, indent=1)
    return f"\n## {title}\n\n| figure | |\n|---|---|\n{rows}\n\n```json\n{protocol}\n```\n"


def main() -> None:
    data = Path(sys.argv[1])
    text = HEAD
    for dataset, split, boxes, padding, scales in RUNS:
        detector = "person" if boxes == "detector" else None
        protocol = Protocol(scales=scales)
        predictor = Predictor.load("lsp14", detector=detector, padding=padding, protocol=protocol)
        text += section(evaluate_model(predictor, dataset, data / dataset, split, boxes))
    (Path(__file__).parent / "results.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
