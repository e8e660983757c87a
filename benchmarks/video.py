"""How many people of a clip keep their ids, and how fast, as the detector runs less often?

python benchmarks/video.py vtest.avi coco17-small 1 3 5 8 12    # vtest.avi: of Debian's opencv-doc

The first 231 frames of the clip, 10 a second, with the labels of `vtest_people.json`, which were
made by looking at every tenth frame. seen: the share of labelled people in whose box a labelled
middle lies, one to one. switches: how often somebody has another id than where they were seen last.
ids: how many are given in all. CPU ms: of all threads, a frame, reading and smoothing too. The
crops are not mirrored.
"""

from __future__ import annotations

import json
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
from common import machine
from scipy.optimize import linear_sum_assignment

from poised.follow import FramePoses
from poised.predict import Predictor

LABELS = Path(__file__).with_name("vtest_people.json")
Place = tuple[float, float]


def ids_of(frame: FramePoses, people: dict[str, Place]) -> dict[str, int]:
    """The id of each labelled person who is seen: who lies in a box, the nearest middles first."""
    middles = np.array(list(people.values()))  # (L, 2)
    low, high = frame.poses.boxes.xyxy[:, :2], frame.poses.boxes.xyxy[:, 2:]
    away = np.linalg.norm(middles[:, None] - (low + high) / 2, axis=2) / (high - low).mean(1)
    inside = ((middles[:, None] >= low) & (middles[:, None] <= high)).all(2)
    cost = np.where(inside, away, 1e3)
    names = list(people)
    pairs = zip(*linear_sum_assignment(cost), strict=True)
    return {names[a]: int(frame.ids[b]) for a, b in pairs if inside[a, b]}


def score(frames: list[FramePoses], labels: dict[str, dict[str, Place]]) -> tuple[int, int, int]:
    """How many labelled people there are, how many are seen, how many switches."""
    last: dict[str, int] = {}
    labelled = seen = switches = 0
    for frame in frames:
        people = labels.get(str(frame.index))
        if people is None:
            continue
        found = ids_of(frame, people)
        labelled, seen = labelled + len(people), seen + len(found)
        switches += sum(last.get(name, i) != i for name, i in found.items())
        last |= found
    return labelled, seen, switches


def main() -> None:
    clip, model, *every = sys.argv[1:]
    labels = json.loads(LABELS.read_text())["frames"]
    count = max(map(int, labels)) + 1
    print(json.dumps(machine()))
    print("| detector every | seen | switches | ids | CPU ms a frame |\n|---|---|---|---|---|")
    for turns in map(int, every):
        predictor = Predictor.load(model, threads=1, flip=False)
        start = time.process_time()
        frames, ids = [], set()
        for frame in islice(predictor.video(clip, detect_every=turns), count):
            ids.update(frame.ids.tolist())
            if str(frame.index) in labels:
                frames.append(frame)
        each = 1000 * (time.process_time() - start) / count
        labelled, seen, switches = score(frames, labels)
        share = seen / labelled
        print(f"| {turns} | {share:.3f} | {switches} | {len(ids)} | {each:.0f} |", flush=True)


if __name__ == "__main__":
    main()
