"""Losses: pure functions of (outputs, targets, weights)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

LIKELY = 0.1  # a teacher's score below which its box says nothing


def mean_squared(maps: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Half the mean squared error over all pixels, unlabelled joints left out.

    maps, targets: (N, K, h, w); weights: (N, K). The mean is over N x K x h x w, as in Simple
    Baselines' published training.
    """
    difference = (maps - targets) * weights[:, :, None, None]
    return 0.5 * difference.square().mean()


def hard_keypoints(maps: Tensor, targets: Tensor, weights: Tensor, count: int) -> Tensor:
    """Online hard keypoint mining: each person's `count` worst labelled keypoints alone.

    maps, targets: (N, K, h, w); weights: (N, K), 0 leaves a keypoint out. CPN, arXiv 1711.07319,
    §4.2.3. Half the squared error of a map is averaged over its pixels; the worst are added and
    divided by `count` (so `count` = K is `mean_squared`), also where fewer are labelled.
    """
    difference = (maps - targets) * weights[:, :, None, None]
    each = 0.5 * difference.square().mean((2, 3))  # (N, K); 0 where unlabelled
    count = min(count, each.shape[1])
    return each.topk(count, dim=1).values.mean()


def log_chances(maps: Tensor, absent: bool) -> Tensor:
    """Logits (N, K, h, w) -> the log of each pixel's chance to hold the joint, (N, K, h w).

    absent: the joint may be nowhere, a further bin of logit 0, the last: (N, K, h w + 1).
    """
    logits = maps.flatten(2).float()
    if absent:
        logits = functional.pad(logits, (0, 1))
    return functional.log_softmax(logits, -1)


def softmax_cross_entropy(
    maps: Tensor, targets: Tensor, weights: Tensor, absent: bool = False, hard: int | None = None
) -> Tensor:
    """Cross-entropy of each joint's map, as a distribution over its pixels; 1 is a blind guess.

    maps: (N, K, h, w) logits; targets: the same shape, not negative, normalised here;
    weights: (N, K), 0 leaves a joint out. Divided by log(h w), the entropy of a flat map.
    absent: a joint may be nowhere (`log_chances`), and an empty target says that it is.
    hard: as in `hard_keypoints`, each person's worst labelled joints alone.
    """
    wanted = targets.flatten(2)
    wanted = wanted / wanted.sum(-1, keepdim=True).clamp(min=1e-6)
    if absent:
        wanted = torch.cat([wanted, 1 - wanted.sum(-1, keepdim=True)], -1)
    entropy = -(wanted * log_chances(maps, absent)).sum(-1)  # (N, K)
    if hard is not None:
        worst = (entropy * weights).topk(min(hard, weights.shape[1]), dim=1).indices
        entropy, weights = entropy.gather(1, worst), weights.gather(1, worst)
    return (entropy * weights).sum() / weights.sum().clamp(min=1) / math.log(targets[0, 0].numel())


def taught_maps(maps: Tensor, theirs: Tensor, absent: bool) -> Tensor:
    """Cross-entropy of every joint's map with a teacher's of the same crop; 1 is a blind guess.

    maps, theirs: (N, K, h, w) logits. As `softmax_cross_entropy`, the teacher's chances in place of
    the target's (Hinton et al., arXiv 1503.02531, at temperature 1).
    """
    wanted = log_chances(theirs, absent).exp()
    entropy = -(wanted * log_chances(maps, absent)).sum(-1)
    return entropy.mean() / math.log(maps[0, 0].numel())


def taught(logits: Tensor, boxes: Tensor, their_scores: Tensor, their_boxes: Tensor) -> Tensor:
    """What a detector's cells differ by from its teacher's: twice quality focal, and 1 - GIoU.

    logits, their_scores: (N, M); boxes, their_boxes: (N, 4, M) in pixels. Each is divided by the
    sum of the teacher's scores; boxes count by the score, and none below LIKELY.
    """
    focal = quality_focal(logits, their_scores) / their_scores.sum().clamp(min=1)
    weights = their_scores * (their_scores > LIKELY)
    return 2 * focal + generalised_iou(boxes, their_boxes, weights)


def quality_focal(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy weighted by the squared error: the sum over all cells.

    Quality focal loss (arXiv 2006.04388, eq. 2, beta = 2). logits, targets: one shape, targets in
    [0, 1]. The many cells that are nearly right, a faint score each, weigh next to nothing.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (entropy * (targets - logits.sigmoid()).square()).sum()


def generalised_iou(boxes: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """1 - GIoU (arXiv 1902.09630, eq. 1), a weighted mean.

    boxes, targets: (N, 4, M) x1, y1, x2, y2 in pixels; weights: (N, M).
    """
    boxes = boxes.float()
    inside = torch.minimum(boxes[:, 2:], targets[:, 2:]) - torch.maximum(
        boxes[:, :2], targets[:, :2]
    )
    around = torch.maximum(boxes[:, 2:], targets[:, 2:]) - torch.minimum(
        boxes[:, :2], targets[:, :2]
    )
    overlap = inside.clamp(min=0).prod(1)
    union = (
        (boxes[:, 2:] - boxes[:, :2]).prod(1) + (targets[:, 2:] - targets[:, :2]).prod(1) - overlap
    )
    hull = around.prod(1) + 1e-6
    loss = 1 - overlap / (union + 1e-6) + (hull - union) / hull
    return (loss * weights).sum() / weights.sum().clamp(min=1)
