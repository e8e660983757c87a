"""What is wrong and what it costs: gains by mending, and slices of the people."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from poised.datasets.person import Person
from poised.metrics.errors import KINDS
from poised.metrics.evaluation import MATCHED, Evaluation
from poised.metrics.matching import box_overlap
from poised.metrics.mending import OF_KEYPOINTS, figure_of, gains
from poised.report.markup import number, paragraph, table
from poised.report.words import LIKENESS, WORDS, explained

SMALL, MEDIUM = 32.0**2, 96.0**2  # square pixels: COCO's sizes
OVERLAP = 0.1  # IoU of boxes over which two people crowd each other


def nobody_can_be(done: Evaluation) -> str:
    """Why there are no missed or false people; nothing where there could be."""
    if done.apart is not None:
        return "One pose is asked for of each labelled person: nobody can be missed or false."
    if done.protocol.get("boxes") == "truth" and done.matched.found.all():
        return "Everybody's annotated box was given: nobody can be missed or false."
    return ""


def what_it_costs(done: Evaluation, kinds: NDArray[np.int64]) -> str:
    """The gain that mending each kind would bring."""
    matched, by_oks = done.matched, done.apart is None
    cases = {kind: f"{(kinds == KINDS.index(kind)).sum()}\njoints" for kind in OF_KEYPOINTS}
    cases |= {"scoring": f"{len(matched.results)}\nscores", "false": f"{len(matched.spare)}\nposes"}
    cases |= {"missed": f"{(~matched.found).sum()}\npeople"}
    impossible = {"false", "missed"} if nobody_can_be(done) else set()
    rows = [
        (f"{WORDS[kind]}\n{explained(kind, by_oks)}", cases[kind], number(gain, 1, "+"))
        for kind, gain in gains(done).items()
        if kind not in impossible
    ]
    before = f"{figure_of(done)} {number(done.figures[figure_of(done)])}"
    text = (
        f"If all errors of one kind were mended, and all else stayed as it is, {before} would rise "
        "by so much. A joint is mended by putting it where the annotation has it. "
    )
    text += (
        "Each kind is mended alone: the gains need not add up, for a pose with two kinds of error "
        "is right only when both are mended. One may lie below 0: the evaluator pairs anew at each "
        "threshold, and may have counted a pose that is called false here."
        if by_oks
        else "A joint has one kind of error, so the gains add up to what is missing from 100."
    )
    return paragraph(text) + table(("mended", "cases", "gain"), rows, (1, 2))


def slices(done: Evaluation, kinds: NDArray[np.int64]) -> str:
    """People by size, by hidden joints, by crowding."""
    matched = done.matched
    area, people = matched.area, matched.people
    hidden = np.array(
        [(p.occluded & seen).sum() for p, seen in zip(people, matched.labelled, strict=True)]
    ) / matched.labelled.sum(1)
    crowd = _crowding(people)
    chosen = {
        "everybody": np.ones(len(people), np.bool_),
        "small, under 32x32 pixels": area < SMALL,
        "medium, under 96x96 pixels": (area >= SMALL) & (area < MEDIUM),
        "large": area >= MEDIUM,
        "no joint hidden": hidden == 0,
        "some hidden": (hidden > 0) & (hidden <= 0.5),
        "most hidden": hidden > 0.5,
        "alone": crowd == 0,
        "with one other": crowd == 1,
        "in a crowd": crowd > 1,
    }
    rows = [
        (
            name,
            str(mask.sum()),
            f"{matched.likeness[mask].mean():.2f}",
            f"{100 * (matched.likeness[mask] >= MATCHED).mean():.0f}",
            f"{100 * (kinds[mask] == 0).sum() / (kinds[mask] >= 0).sum():.0f}",
        )
        for name, mask in chosen.items()
        if mask.any()
    ]
    what = LIKENESS[done.apart is None]
    head = ("", "people", f"mean {what}", f"people from {MATCHED}, %", "joints right, %")
    return table(head, rows, range(1, 5))


def _crowding(people: Sequence[Person]) -> NDArray[np.int64]:
    """(P,) how many others' boxes overlap each one's."""
    boxes = np.stack([person.xywh for person in people])
    image = np.array([person.image_id for person in people])
    count = np.zeros(len(people), np.int64)
    for one in np.unique(image):
        here = np.flatnonzero(image == one)
        overlap = box_overlap(boxes[here], [people[i] for i in here.tolist()])
        count[here] = (overlap > OVERLAP).sum(1) - 1
    return count
