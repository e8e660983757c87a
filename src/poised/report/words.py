"""What the page calls things, and what they mean, in plain words."""

from __future__ import annotations

from poised.datasets import DATASETS
from poised.metrics.evaluation import Evaluation

LIKENESS = ("share of joints right", "OKS")  # of a person; the second where OKS is the measure
WORDS = {  # of KINDS and MENDED
    "good": "right",
    "jitter": "a little off",
    "inversion": "left and right exchanged",
    "swap": "on somebody else",
    "miss": "far off",
    "unfound": "person not found",
    "scoring": "scores in the wrong order",
    "false": "false people",
    "missed": "missed people",
}
OKS = (
    "OKS, object keypoint similarity, says how near a pose is to the annotated one: the mean of "
    "its labelled joints' similarities. A joint's is 1 in its place and falls with the distance, "
    "the slower the larger the person is and the vaguer such a joint."
)
MEANT = {
    "AP": "average precision: of the poses given, the share that is right, as ever more people "
    "are found; mean over ten limits of OKS, 0.50 to 0.95",
    "AR": "average recall: the share of people found, over the same limits",
    ".5": "at an OKS of 0.5 alone",
    ".75": "at an OKS of 0.75 alone",
    "_M": "medium people, 32x32 to 96x96 pixels",
    "_L": "large people, from 96x96 pixels",
    "_easy": "images where people do not crowd",
    "_medium": "images where they crowd a little",
    "_hard": "images where they crowd",
    "person_AP": "the boxes: average precision, over limits of overlap from 0.50 to 0.95",
    "person_AR": "the boxes: average recall, with 100 an image",
    "mean": "of the joints' figures",
    "limb mean": "of the joints' figures, without neck and head",
    "AUC": "mean PCK over all limits up to the one used",
}


def meaning(figure: str, done: Evaluation) -> str:
    """Of a figure by its name; nothing where the name says it."""
    if figure.startswith("labelled mean"):
        left_out = done.protocol["left_out_of_labelled_mean"]
        but = f", but {' and '.join(left_out)}" if left_out else ""
        return f"share of all labelled joints that are right{but}"
    if figure in MEANT:
        return MEANT[figure]
    ends = [meant for end, meant in MEANT.items() if figure.endswith(end) and end[0] in "._"]
    return ends[0] if ends else ""


def measure(done: Evaluation) -> str:
    """What makes a joint, or a pose, right."""
    if done.apart is None:
        return OKS
    metric = done.protocol["metric"].split(",")[0]
    length = done.protocol["length"].replace("_", " ")
    return (
        f"{metric}: a joint is right where its distance from the annotation is at most "
        f"{done.matched.good:g} of a length, which is {length}. Figures are percent."
    )


def subject(done: Evaluation) -> str:
    """The model, or the predictions' file, and the data set: the page's title."""
    protocol = done.protocol
    what = protocol.get("model") or protocol.get("predictions") or "predictions"
    return f"{what} on {protocol['dataset']} {protocol.get('split', '')}".strip()


def boxes(done: Evaluation) -> str:
    """Where the people's boxes came from."""
    kind = done.protocol.get("boxes")
    known = {
        None: "boxes as the predictions have them.",
        "truth": "their boxes as annotated."
        if DATASETS[done.protocol["dataset"]].boxed
        else "their boxes made from what is annotated.",
        "image": "each whole image is one person's box.",
        "detector": f"boxes found by {done.protocol.get('detector')}.",
    }
    return known.get(kind, f"boxes of the file {kind}.")


def explained(kind: str, by_oks: bool) -> str:
    """What an error is, and how it is mended."""
    near = "its similarity 0.5 to 0.85" if by_oks else "outside the limit, within twice of it"
    return {
        "jitter": f"jitter: a joint near its place, but not at it, {near}",
        "inversion": "inversion: a joint where the person's other side has it",
        "swap": "swap: a joint where somebody else in the picture has it",
        "miss": "miss: a joint in none of these places",
        "scoring": "better poses ranked below worse or false ones; mended: a pose's score is its "
        "OKS with its person, 0 if it is nobody's",
        "false": "poses of nobody labelled, and second poses of a person; mended: left out",
        "missed": "labelled people who got no pose; mended: not asked for",
    }[kind]
