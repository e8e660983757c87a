"""What mending each kind of error would gain: all errors of a kind are mended, and scored again.

The kinds of keypoints' and of scores' errors are those of Ronchi and Perona (arXiv 1707.05388, §3),
false and missed people those of TIDE (arXiv 2008.08115, §2). Each kind is mended alone, with all
else as it was predicted, as in TIDE: no order of mending favours a kind, and the gains need not
add up to what is missing from 100. (Ronchi and Perona mend one after the other.)

jitter, inversion, swap, miss  the keypoint is put where the truth is (theirs: at the edge of good)
scoring  a prediction's score is its OKS with its person, each one's likest; 0 if nobody's
false    predictions that nobody got are left out
missed   people who got none are left out

Where a data set is measured by PCK there are only the keypoints' errors; a joint has one kind, so
these gains do add up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poised.metrics.coco import CROWDED
from poised.metrics.errors import KINDS, error_kinds
from poised.metrics.evaluation import Evaluation, figures_of
from poised.metrics.matching import Matched, by_image, keypoints_of, likeness_of
from poised.metrics.pck import labelled_mean, pck

OF_KEYPOINTS = ("jitter", "inversion", "swap", "miss")
MENDED = (*OF_KEYPOINTS, "scoring", "false", "missed")


def figure_of(done: Evaluation) -> str:
    """The figure that gains are of."""
    return "AP" if done.apart is None else "labelled mean"


def gains(done: Evaluation) -> dict[str, float]:
    """Points of `figure_of` that mending each kind alone would bring; NaN where nothing is left."""
    kinds, before = error_kinds(done.matched), done.figures[figure_of(done)]
    if done.apart is not None:
        after = {kind: _mended_pck(done, done.apart, kinds, kind) for kind in OF_KEYPOINTS}
    else:
        after = {kind: mended_figures(done, kinds, [kind])["AP"] for kind in MENDED}
    return {kind: value - before if value >= 0 else np.nan for kind, value in after.items()}


def mended_figures(
    done: Evaluation, kinds: NDArray[np.int64], mended: Sequence[str]
) -> dict[str, float]:
    """OKS figures, percent, with all errors of these kinds mended; kinds: `error_kinds`."""
    matched, truth = done.matched, done.truth
    wrong = np.isin(kinds, [KINDS.index(kind) for kind in OF_KEYPOINTS if kind in mended])
    results = _moved(matched, wrong)
    if "scoring" in mended:
        scores = _best_scores(matched, keypoints_of(results)).tolist()
        results = [{**r, "score": score} for r, score in zip(results, scores, strict=True)]
    if "false" in mended:
        results = [results[i] for i in sorted(matched.given[matched.found])]
    if "missed" in mended:
        gone = set(matched.index[~matched.found].tolist())
        left = [a for i, a in enumerate(truth["annotations"]) if i not in gone]
        truth = {**truth, "annotations": left}
    low, high = done.protocol.get("crowd_index", CROWDED)
    dataset, sigmas = done.protocol["dataset"], matched.skeleton.sigmas
    return figures_of(dataset, truth, results, sigmas, (low, high))


def _moved(matched: Matched, wrong: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The results, with the keypoints (P, K) that are wrong put where the truth is."""
    results = list(matched.results)
    truth = matched.truth
    for person in np.flatnonzero(wrong.any(1) & matched.found):
        result = results[matched.given[person]]
        triples = np.array(result["keypoints"], np.float64).reshape(-1, 3)
        triples[wrong[person], :2] = truth[person, wrong[person]]
        results[matched.given[person]] = {**result, "keypoints": triples.ravel().tolist()}
    return results


def _best_scores(matched: Matched, poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) the OKS of each pose with its person, the likest pair of an image first; else 0."""
    scores = np.zeros(len(poses))
    image = np.array([person.image_id for person in matched.people])
    for number, predicted in by_image(matched.results).items():
        here = np.flatnonzero(image == number)
        people = [matched.people[i] for i in here]
        alike = likeness_of(
            poses[predicted], people, matched.labelled[here], matched.area[here], matched.skeleton
        )
        while alike.size and alike.max() > 0:
            row, column = np.unravel_index(alike.argmax(), alike.shape)
            scores[predicted[row]] = alike[row, column]
            alike[row], alike[:, column] = 0, 0
    return scores


def _mended_pck(
    done: Evaluation, apart: NDArray[np.float64], kinds: NDArray[np.int64], kind: str
) -> float:
    """The mean over labelled joints with those of a kind where the truth is."""
    names = done.protocol["keypoints"]
    counted = [done.matched.skeleton.keypoints.index(name) for name in names]
    mended = np.where(kinds[:, counted] == KINDS.index(kind), 0.0, apart)
    left_out = done.protocol["left_out_of_labelled_mean"]
    return round(labelled_mean(pck(mended, done.matched.good), mended, names, left_out), 3)
