"""A row of a paper's table from one end to the other: what it needs, training, test, verdict."""

from __future__ import annotations

import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from poised.boxes.files import check_box_file
from poised.checkpoint import describe_network, read_tensors
from poised.cost import measure_cost
from poised.datasets import Person, known, read_people
from poised.datasets.person import anybody_labelled, cut_part, fingerprint
from poised.evaluate import TOTAL
from poised.files import sha256, write_text
from poised.machine import Machine, is_first
from poised.metrics.evaluation import check_heads
from poised.nets import build
from poised.packs import PACK
from poised.recipe import Dataset, Recipe
from poised.train import train
from poised.types import Skeleton
from poised.validate import evaluate_recipe, main_figure

TOLERANCE = 0.5  # points from the paper's figure that pass
WHOLE = {  # people with labelled keypoints, as HRNet's code counts them in the whole data set
    ("coco", "train2017"): 149_813,
    ("coco", "val2017"): 6_352,
    ("mpii", "train"): 22_246,
    ("mpii", "valid"): 2_958,
}
SMOKE = 8  # people, of the slice that is trained on; half as many images are tested


def smoke(recipe: Recipe) -> list[str]:
    """`key=value` that leave of a recipe two steps on its first people, and a test on few."""
    return [
        f"dataset.train={recipe.dataset.train}[:{SMOKE}]",
        f"test.split={recipe.test.split}[:{SMOKE // 2}]",
        "dataset.also=[]",
        f"optimise.batch={SMOKE // 2}",
        "optimise.epochs=1",
        "optimise.workers=0",
        "optimise.drops=[]",
    ]


def needs(recipe: Recipe) -> list[str]:
    """What a row is, the data that it needs and what is of it here, and how long it takes.

    Raises what the readers raise, FileNotFoundError for images that are not there, and ValueError
    where the test part has neither labels nor a server.
    """
    test, plan = recipe.test, recipe.optimise
    on = (recipe.dataset.name, test.split)
    lines = [
        f"{row.source}: {row.row}: {_figures(row.figures)}"
        + ("" if row.is_on(*on) else f" (on {row.dataset} {row.split}, not judged here)")
        for row in recipe.reported
    ]
    boxes = {"truth": "annotated boxes", "image": "whole images"}.get(test.boxes, test.detector)
    scales = "" if test.scales == (1.0,) else f", scales {', '.join(map(str, test.scales))}"
    flip = "with flip" if test.flip else "without flip"
    lines.append(f"tested on {test.split}: {boxes}, {flip}, decoder {test.decoder}{scales}")
    tested = _people(recipe, test.split)
    check_heads(recipe.dataset.name, tested)
    if not _has_labels(recipe, tested):
        lines.append(f"{test.split}: no labels here, so results for its server and no figures")
    own, seen = recipe.dataset, 0
    for source in (own, *own.also):
        people = _people_of(source, source.train, recipe.skeleton if source is own else None)
        seen += len(people) * source.times * plan.epochs
        lines.append(_found(source, source.train, people))
    lines.append(_found(own, test.split, tested))
    macs = measure_cost(recipe).macs_g
    lines.append(
        f"{seen} images seen in {plan.epochs} epochs, {6 * macs * 1e9 * seen / 1e15:.3g} PFLOP "
        f"(6 x {macs:.2f} G MACs an image); about {seen * _pace(recipe) / 3600:.2g} h on one "
        f"device here, of two images measured"
    )
    return lines


def reproduce(
    recipe: Recipe,
    out: Path,
    *,
    boxes: Any = "truth",
    machine: Machine | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Train a row in `out`, test it, and write out/measured.yaml: the recipe with `measured`.

    boxes: of the test: "truth", "detector", "image" or a box file, where the paper's are a
    detector's. A test part without labels gives out/results.json, for its server, and no figures.
    Raises what `train` and `evaluate_model` raise.
    """
    split, results = recipe.test.split, None
    if not _has_labels(recipe, _people(recipe, split)):
        results = out / "results.json"
        if boxes == "truth":
            raise ValueError(f"{split} has no labels here: its boxes are a FILE's or detector's")
    if isinstance(boxes, Path):
        check_box_file(boxes)
    before = commit()
    weights = train(recipe, out, machine=machine, say=say)
    if not is_first():
        return {}
    done = evaluate_recipe(recipe, weights, boxes, write_to=results)
    state = read_tensors(out / "state.safetensors")[1]
    measured = {
        "figures": {name: round(value, 2) for name, value in done.figures.items()},
        "verdict": verdict(recipe, done.figures, boxes),
        "commit": before,
        "weights_sha256": sha256(weights),
        "people_sha256": fingerprint(done.matched.people),
        "boxes_sha256": done.protocol.get("boxes_sha256"),
        "machine": describe_machine(),
        "hours": round(state["seconds"] / 3600, 3),
        "steps": state["step"],
        "protocol": done.protocol,
    }
    values = recipe.model_dump(mode="json") | {"measured": measured}
    write_text(out / "measured.yaml", yaml.safe_dump(values, sort_keys=False, allow_unicode=True))
    say(f"{_figures(done.figures) or 'no figures'} -> {out / 'measured.yaml'}")
    if results is not None:
        say(f"results for the server of {split} -> {results}")
    say(str(measured["verdict"]))
    return measured


def verdict(recipe: Recipe, figures: dict[str, float], boxes: Any) -> str:
    """PASS or MISS against each paper's figure, or why there is none."""
    own, split = recipe.dataset, recipe.test.split
    if not figures:
        return f"no verdict: {split} has no labels here"
    parts = [(own, own.train), *((also, also.train) for also in own.also), (own, split)]
    if any(cut_part(part)[1] is not None for _, part in parts):
        return "no verdict: a slice of the data"
    for source, part in parts:
        whole = WHOLE.get((source.name, part))
        skeleton = recipe.skeleton if source is own else None
        if whole is not None and len(_people_of(source, part, skeleton)) != whole:
            return f"no verdict: {part} is not whole here"
    if recipe.test.boxes == "detected" and boxes == "truth":
        return f"no verdict: annotated boxes, where the paper has those of {recipe.test.detector}"
    if recipe.test.ensemble:
        return "no verdict: the paper averages several models"
    main = main_figure(recipe.dataset.name)
    theirs = "Total" if main == TOTAL.get(recipe.dataset.name) else main
    lines = []
    for row in recipe.reported:
        if theirs in row.figures and row.is_on(recipe.dataset.name, split):
            less = figures[main] - row.figures[theirs]
            word = "PASS" if less >= -TOLERANCE else "MISS"
            lines.append(
                f"{word}: {theirs} {figures[main]:.1f}, {row.source} has {row.figures[theirs]:g} "
                f"({less:+.1f}, {TOLERANCE} allowed)"
            )
    return "; ".join(lines) or f"no verdict: no {theirs} is reported of this row"


def record(file: Path, measured: dict[str, Any]) -> None:
    """Put `measured` into a recipe's file, in place of its `measured: null`; ValueError if none."""
    text = file.read_text("utf-8")
    if text.count("\nmeasured: null\n") != 1:
        raise ValueError(f"{file}: no line `measured: null` to put the figures in")
    short = {name: measured[name] for name in measured if name != "protocol"}
    block = yaml.safe_dump({"measured": short}, sort_keys=False, allow_unicode=True)
    write_text(file, text.replace("\nmeasured: null\n", f"\n{block}"))


def commit() -> str | None:
    """The source's commit, with + where files have changed since; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", here, *words], capture_output=True, text=True)
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    number = git("rev-parse", "HEAD")
    return number if number is None else number + ("+" if git("status", "--porcelain") else "")


def _people(recipe: Recipe, part: str) -> list[Person]:
    """Those that count, of the recipe's own data set."""
    return _people_of(recipe.dataset, part, recipe.skeleton)


def _people_of(source: Dataset, part: str, skeleton: str | None) -> list[Person]:
    people, _ = read_people(source.name, source.root, part, skeleton)
    return [person for person in people if not person.ignored]


def _has_labels(recipe: Recipe, people: Sequence[Person]) -> bool:
    """Whether there is something to score; ValueError where there is not, nor a server for it."""
    if anybody_labelled(people):
        return True
    if known(recipe.dataset.name).of_coco_form:
        return False
    split, root = recipe.test.split, recipe.dataset.root
    raise ValueError(f"{root}: nobody is labelled in {split}: name another part by test.split")


def _found(source: Dataset, part: str, people: Sequence[Person]) -> str:
    """How many people of a part there are, and should be.

    FileNotFoundError where images are missing; what is in a pack was seen to be there.
    """
    missing = sorted({str(p.image) for p in people if not p.image.is_file()})
    if missing and not (source.root / PACK).is_file():
        raise FileNotFoundError(f"{len(missing)} images of {part} are missing: {missing[0]}, ...")
    whole = WHOLE.get((source.name, part))
    of = f" of {whole}" if whole is not None and whole != len(people) else ""
    return f"{source.name} {part}: {len(people)}{of} people in {source.root.name}"


def _pace(recipe: Recipe) -> float:
    """Seconds that one image of a step takes on this machine's first device: of two."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = build(**describe_network(recipe, len(Skeleton.load(str(recipe.skeleton)))))
    network.to(device).train()
    width, height = recipe.input.size
    images = torch.zeros(2, 3, height, width, device=device)
    seconds = []
    for _ in range(2):  # the first one warms up
        begun = time.monotonic()
        torch.autograd.backward(torch.stack([maps.sum() for maps in network(images)]).sum())
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - begun)
    return seconds[-1] / len(images)


def describe_machine() -> str:
    """The device, and torch's and Python's versions."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    return f"{gpu}, {platform.machine()}, {versions}"


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in list(figures.items())[:8])
