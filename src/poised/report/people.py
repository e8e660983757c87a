"""Rows of pictures: wrong poses, missed people, false people, and some at random."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from poised.metrics.errors import KINDS
from poised.metrics.evaluation import Evaluation
from poised.metrics.matching import (
    LEAST,
    SAME_BOX,
    Matched,
    box_overlap,
    keypoints_of,
    likeness_of,
)
from poised.report.errors import nobody_can_be
from poised.report.markup import heading, paragraph, picture
from poised.report.pictures import LEGEND, Poses, draw, nobody
from poised.report.words import LIKENESS, WORDS

PICTURES = 8  # of a row


def rows_of_people(done: Evaluation, kinds: NDArray[np.int64], seed: int) -> str:
    """What is wrong in three rows, the worst first, and one at random."""
    matched, what = done.matched, LIKENESS[done.apart is None]
    found = np.flatnonzero(matched.found)
    joints = matched.labelled.sum(1)
    order = np.lexsort((-joints[found], matched.likeness[found].round(2)))
    wrong = found[order][:PICTURES]
    some = np.random.default_rng(seed).permutation(found)[:PICTURES]
    parts = [
        heading("Wrong poses"),
        paragraph(
            f"Those of the lowest {what}, among equals of the most labelled joints. {LEGEND}"
        ),
        _row([_pose(matched, int(i), kinds, what) for i in wrong]),
        _missed_and_false(done),
        heading("Some at random"),
        paragraph("Right or wrong, as they come."),
        _row([_pose(matched, int(i), kinds, what) for i in some]),
    ]
    return "".join(parts)


def _missed_and_false(done: Evaluation) -> str:
    matched, cannot = done.matched, nobody_can_be(done)
    if cannot:
        return heading("Missed and false people") + paragraph(cannot)
    missed = np.flatnonzero(~matched.found)
    missed = missed[np.argsort(-matched.area[missed], kind="stable")][:PICTURES]
    score = np.array([matched.results[i]["score"] for i in matched.spare])
    false = matched.spare[np.argsort(-score, kind="stable")][:PICTURES]
    parts = [
        heading("Missed people"),
        paragraph(
            f"The largest labelled people to whom no pose has an OKS of {LEAST}, and on whose box "
            f"no pose's box lies (with at least {SAME_BOX} of the two's union in common). Poses "
            "about them are those of others, or nobody's."
        ),
        _row([_missed(matched, int(i)) for i in missed]),
        heading("False people"),
        paragraph(
            "The poses of the highest score that no labelled person got. Some may be people whom "
            "nobody labelled."
        ),
        _row([_false(done, int(i)) for i in false]),
    ]
    return "".join(parts)


def _row(pictures: list[str]) -> str:
    return f'<div class="pictures">{"".join(pictures)}</div>' if pictures else paragraph("None.")


def _pose(matched: Matched, index: int, kinds: NDArray[np.int64], what: str) -> str:
    """A person with the pose that they got, and what is wrong with it."""
    person, shown = matched.people[index], matched.labelled[index]
    count = np.array([(kinds[index] == place).sum() for place in range(len(KINDS))])
    wrong = [place for place in np.argsort(-count, kind="stable") if place and count[place]]
    said = [f"{count[place]} {WORDS[KINDS[place]]}" for place in wrong]
    errors = f"of {shown.sum()} joints {', '.join(said) if said else 'all right'}"
    scored = f"{what} {matched.likeness[index]:.2f}"
    if matched.given[index] >= 0:
        scored += f", score {matched.results[matched.given[index]]['score']:.2f}"
    astray = kinds[index] > 0
    truth, predicted = (xy[None] for xy in (person.xy, matched.xy[index]))
    strays = np.stack([predicted[0, astray], truth[0, astray]], 1)
    drawn = draw(
        person.image,
        person.xywh,
        matched.skeleton,
        (truth, shown[None]),
        _poses(matched, predicted),
        strays,
    )
    name = person.image.name
    return picture(drawn, f"pose, {name}", f"{name}: {scored}; {errors}")


def _missed(matched: Matched, index: int) -> str:
    """A person nobody found, with what was found about them."""
    person = matched.people[index]
    there = [r for r in matched.results if r["image_id"] == person.image_id]
    name, joints = person.image.name, matched.labelled[index].sum()
    label = f"{name}: {person.xywh[2]:.0f}x{person.xywh[3]:.0f} pixels, {joints} joints labelled"
    drawn = draw(
        person.image,
        person.xywh,
        matched.skeleton,
        (person.xy[None], matched.labelled[index][None]),
        _poses(matched, keypoints_of(there)),
    )
    return picture(drawn, f"missed, {name}", f"{label}; found by no pose")


def _false(done: Evaluation, place: int) -> str:
    """A pose that is nobody's, with the labelled people about it."""
    matched, result = done.matched, done.matched.results[place]
    pose = keypoints_of([result])
    joints, box = pose[0, matched.counted], matched.boxes[place]
    low = np.minimum(joints.min(0), box[:2])
    high = np.maximum(joints.max(0), box[:2] + box[2:])
    here = [i for i, p in enumerate(matched.people) if p.image_id == result["image_id"]]
    people = [matched.people[i] for i in here]
    alike = likeness_of(pose, people, matched.labelled[here], matched.area[here], matched.skeleton)
    overlap = box_overlap(box[None], people)
    second = alike.max(initial=0) >= LEAST or overlap.max(initial=0) >= SAME_BOX
    errors = "a second pose of somebody found" if second else "nobody is labelled there"
    name = next(i["file_name"] for i in done.truth["images"] if i["id"] == result["image_id"])
    truth = (matched.truth[here], matched.labelled[here])
    drawn = draw(
        (done.folder or Path()) / name,
        np.concatenate([low, high - low]),
        matched.skeleton,
        truth if here else nobody(matched.skeleton),
        _poses(matched, pose),
    )
    name = Path(name).name
    return picture(drawn, f"false, {name}", f"{name}: score {result['score']:.2f}; {errors}")


def _poses(matched: Matched, xy: NDArray[np.float64]) -> Poses:
    """Predicted poses (N, K, 2), of whose joints those are drawn that count."""
    if not len(xy):
        return nobody(matched.skeleton)
    return xy, np.repeat(matched.counted[None], len(xy), 0)
