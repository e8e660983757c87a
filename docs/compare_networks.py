"""Train the networks alike on LSPET, one by one, and write docs/comparison.md from what they reach.

python docs/compare_networks.py DATA RUNS [ROW-SEED ...]     e.g. cpn-0; none: all that is missing

Each run's figures go to docs/comparison/<row>-<seed>.json, its training (resumable) to RUNS. The
page is written anew after each run, so that it stands early and grows; with `page` for the rows it
is written from what is there. Networks and ablations are named as in their papers.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poised.checkpoint import read_tensors
from poised.compare import compare, share_interval
from poised.cost import measure_cost
from poised.files import write_text
from poised.read_recipe import load_recipe
from poised.reproduce import commit, describe_machine
from poised.train import train
from poised.validate import evaluate_recipe

HERE = Path(__file__).parent
FIGURES = ("Head", "Shoulder", "Elbow", "Wrist", "Hip", "Knee", "Ankle")
PLAIN = {"aggregate": "none", "select": "none", "fusion": False, "dense_upsampling": False}


@dataclass(frozen=True)
class Row:
    """A network as it is trained here; of: the row that its paper compares it with.

    what: in the paper's words; options: beside `width`, a quarter of every channel. hard: the
    recipe's `target.hard`.
    """

    what: str
    network: str
    of: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    hard: int | None = None


def efafnet(**parts: Any) -> dict[str, Any]:
    return {"depth": 50, **PLAIN, **parts}


ROWS: dict[str, Row] = {
    "simple-baseline": Row("Simple Baseline, ResNet-50", "simple_baseline"),
    "hourglass": Row("hourglass, 2 stacks (Multi-Context's BL)", "hourglass", None, {"stacks": 2}),
    "hrnet": Row("HRNet-W32", "hrnet", "simple-baseline", {"streams": 32}),
    "cpn": Row("CPN, ResNet-50: GlobalNet, RefineNet", "cpn", "cpn-globalnet", {"backbone": 50}),
    "csanet": Row("CSANet, ResNet-50: CAP, SAP, HHP", "csanet", "simple-baseline", {"depth": 50}),
    "efafnet": Row("EFAFNet, ResNet-50: FAM, FSM, FFM, DUC", "efafnet", "simple-baseline",
                   {"depth": 50}),
    "spcnet": Row("SPCNet, 2 modules: DHM, SIM", "spcnet", "hourglass", {"modules": 2}),
    "multi-context": Row("Multi-Context Attention, 2 stacks: BL+MS+HRU+MR+HP", "multi_context",
                         "hourglass", {"stacks": 2}),
    "cpn-globalnet": Row("GlobalNet", "cpn", "simple-baseline",
                         {"backbone": 50, "bottlenecks": []}),
    "cpn-hard": Row("GlobalNet, RefineNet, +hard keypoints (7 of 14)", "cpn", "cpn",
                    {"backbone": 50}, 7),
    "csanet-cap": Row("+CAP", "csanet", "simple-baseline",
                      {"depth": 50, "spatial": [], "layers": 0}),
    "csanet-cap-sap": Row("+CAP+SAP", "csanet", "simple-baseline", {"depth": 50, "layers": 0}),
    "efafnet-fam": Row("+FAM", "efafnet", "simple-baseline", efafnet(aggregate="bottleneck")),
    "efafnet-fsm": Row("+FSM", "efafnet", "simple-baseline", efafnet(select="parallel")),
    "efafnet-ffm": Row("+FFM", "efafnet", "simple-baseline", efafnet(fusion=True)),
    "efafnet-duc": Row("+DUC", "efafnet", "simple-baseline", efafnet(dense_upsampling=True)),
    "spcnet-dhm": Row("DHM", "spcnet", "hourglass", {"modules": 2, "fusion": "none"}),
    "spcnet-sim": Row("SIM", "spcnet", "hourglass", {"modules": 2, "rate": None}),
    "multi-context-ms": Row("BL+MS", "multi_context", "hourglass",
                            {"stacks": 2, "attention": "one", "hru": False, "parts": False}),
    "multi-context-hru": Row("BL+MS+HRU", "multi_context", "hourglass",
                             {"stacks": 2, "attention": "one", "parts": False}),
    "multi-context-mr": Row("BL+MS+HRU+MR", "multi_context", "hourglass",
                            {"stacks": 2, "parts": False}),
}  # fmt: skip
TWICE = ("simple-baseline", "csanet", "efafnet", "hourglass", "spcnet", "cpn", "cpn-globalnet",
         "multi-context")  # fmt: skip
# the tables of parts: the paper, how its rows' names begin, and rows of others that begin it
PARTS: tuple[tuple[str, str, list[str]], ...] = (
    ("CPN", "cpn-", []),
    ("CSANet", "csanet-", []),
    ("EFAFNet", "efafnet-", []),
    ("SPCNet", "spcnet-", []),
    ("Multi-Context Attention", "multi-", ["hourglass"]),
)
RUNS = [f"{row}-0" for row in ROWS] + [f"{row}-1" for row in TWICE]
HEAD = """# The networks compared

Every network here was trained alike by `python docs/compare_networks.py DATA RUNS`, which wrote
this page: LSPET (8,487 images; tested on its last 500, flip), crops of {size} pixels, a quarter of
each network's channels, random weights at the start, {epochs} passes in steps of {batch}, Adam. The
samples of a seed are the same for all, in the same order, and so is the loss: the cross-entropy of
each output's maps. So small and so short a training says what a network learns quickly, not what
the papers' reach: these start from ImageNet weights, see hundreds of passes, and have four times
the channels.

Why not each paper's own loss: from random weights the squared error of heatmaps stays at the flat
map for thousands of steps. At 64x64, after 4,240 steps of 16, the hourglass had 12.9 and Simple
Baseline 19.6 (PCK@0.2, all); in 1,000 steps of 8 the share of held-out joints within 1.5 of 16
cells came to 9 by the squared error and to 24 by the cross-entropy (hourglass; 15 and 17 for Simple
Baseline). CPN's hard keypoints are here each person's seven of the worst cross-entropy (the paper:
8 of COCO's 17).

Run on 2-core AMD EPYCs, by torch 2.13.0 for CPUs; the first runs' own files do not say so. PCK@0.2
in percent; `all` is the mean over joints, with the 95% interval of drawing the test images anew.
Hours are those of one core that other work shared.
"""


def main() -> None:
    data, runs = Path(sys.argv[1]), Path(sys.argv[2])
    for run in sys.argv[3:] or [run for run in RUNS if not _file(run).is_file()]:
        if run != "page":
            measure(run, data, runs)
        write_page()


def measure(run: str, data: Path, runs: Path) -> None:
    """Train a row with a seed, and write what it reaches."""
    name, seed = run.rsplit("-", 1)
    row = ROWS[name]
    options = json.dumps({**row.options, "width": 0.25})
    recipe = load_recipe(
        str(HERE / "comparison" / "base.yaml"),
        [
            f"name={run}",
            f"dataset.root={data / 'lspet'}",
            f"network={{name: {row.network}, options: {options}}}",
            f"optimise.seed={seed}",
            f"target.hard={'null' if row.hard is None else row.hard}",
        ],
    )
    before = commit()
    weights = train(recipe, runs / run)
    state = read_tensors(weights.with_name("state.safetensors"))[1]
    done = evaluate_recipe(recipe, weights)
    cost = measure_cost(recipe)
    facts = {"row": name, "seed": int(seed), "network": row.network, "options": row.options}
    facts |= {"size": list(recipe.input.size), "epochs": recipe.optimise.epochs}
    facts |= {"batch": recipe.optimise.batch, "steps": state["step"]}
    facts |= {"params_m": cost.params_m, "macs_g": cost.macs_g}
    facts |= {
        "hours": round(state["seconds"] / 3600, 2),
        "machine": describe_machine(),
        "commit": before,
    }
    measured = weights.with_name("figures.json")
    done.write(measured)
    values = json.loads(measured.read_text("utf-8")) | facts
    write_text(_file(run), json.dumps(values) + "\n")  # at once, for the page takes it as it is


def write_page() -> None:
    """docs/comparison.md, from the runs that are there."""
    there = [run for run in RUNS if _file(run).is_file()]
    found = {run: json.loads(_file(run).read_text("utf-8")) for run in there}
    if not found:
        return
    first = next(iter(found.values()))
    size = "x".join(map(str, first["size"]))
    text = HEAD.format(size=size, epochs=first["epochs"], batch=first["batch"])
    text += "\n## The networks\n\n" + _table(list(ROWS)[:8], found)
    for title, start, baseline in PARTS:
        rows = baseline + [name for name in list(ROWS)[8:] if name.startswith(start)]
        text += f"\n## {title}: what its parts bring\n\n" + _table(rows, found)
    missing = [run for run in RUNS if run not in found]
    if missing:
        text += f"\nNot run yet: {', '.join(missing)}.\n"
    words = HERE / "comparison" / "words.md"
    write_text(HERE / "comparison.md", text + "\n" + words.read_text("utf-8"))


def _file(run: str) -> Path:
    return HERE / "comparison" / f"{run}.json"


def _table(rows: Sequence[str], found: dict[str, dict[str, Any]]) -> str:
    """A line for each run of these rows."""
    head = "| | seed | all | less what it is compared with | "
    lines = [head + " | ".join((*FIGURES, "M params", "G MACs", "h")) + " |"]
    lines.append("|---" * (7 + len(FIGURES)) + "|")
    for name in rows:
        for seed in (0, 1):
            done = found.get(f"{name}-{seed}")
            if done is not None:
                lines.append(_line(name, seed, done, found))
    return "\n".join(lines) + "\n" if len(lines) > 2 else "Not run yet.\n"


def _line(name: str, seed: int, done: dict[str, Any], found: dict[str, Any]) -> str:
    figures, row = done["figures"], ROWS[name]
    low, high = share_interval(done["samples"])
    cells = [row.what, str(seed), f"{figures['mean']:.1f} ({low:.1f} to {high:.1f})"]
    against = f"{row.of}-{seed}"
    if row.of is not None and against in found:
        other = compare([_file(against), _file(f"{name}-{seed}")])
        gain = figures["mean"] - found[against]["figures"]["mean"]
        cells.append(f"{row.of}: {gain:+.1f} ({other[1].low:+.1f} to {other[1].high:+.1f})")
    else:
        cells.append("")
    cells += [f"{figures[part]:.1f}" for part in FIGURES]
    cells += [f"{done['params_m']:.2f}", f"{done['macs_g']:.3f}", f"{done['hours']:.2f}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
