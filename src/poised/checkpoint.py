"""Weights on disk: safetensors only, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from poised.files import written_whole
from poised.nets import build
from poised.nets.rtmdet import CHANNELS
from poised.reading import json_text, parse_json, short
from poised.recipe import Recipe
from poised.runtime import find_model
from poised.types import Skeleton, SkeletonError


def save_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors and JSON-able notes as one safetensors file, in one move."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as partial:
        save_file(plain, partial, metadata={"poised": json_text(notes)})
        partial.chmod(0o666 & ~_umask())  # safetensors lets nobody else read it


def _umask() -> int:
    """Which rights new files do not get; it can only be asked by being set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Floats as fp16 where its range holds them: half the file, and no figure of ours moves by it.

    A batch norm's variance can lie beyond. Raises ValueError at what is not finite.
    """
    small = {}
    for name, value in tensors.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} is not finite: the training has gone wrong")
        fits = value.is_floating_point() and value.abs().max() <= torch.finfo(torch.float16).max
        small[name] = value.half() if fits else value
    return small


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and notes of a file; ValueError, naming the file, if it is not ours."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights file {path}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("poised", "{}")
            notes = parse_json(text, f"{path}: its notes", ValueError)
            if not isinstance(notes, dict):
                raise ValueError(f"{path}: its notes are {type(notes).__name__}, not fields")
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is not a safetensors file: {error}") from error


def find_weights(name_or_path: str | Path) -> Path:
    """The weights of a bundled model's name, or of a path; ModelError for another name."""
    path = Path(name_or_path)
    return path if path.suffix else find_model(name_or_path).with_suffix(".safetensors")


def describe_network(recipe: Recipe, joints: int) -> dict[str, Any]:
    """The arguments of `nets.build` for a recipe's network, as they are written beside weights."""
    kind = {"network": recipe.network.name, "joints": joints}
    if recipe.skeleton is not None:
        skeleton = Skeleton.load(recipe.skeleton)
        kind["groups"] = [list(group) for group in skeleton.groups.values()]
    return {**recipe.network.options, **kind}


def skeleton_of_weights(notes: Mapping[str, Any], source: str) -> Skeleton | None:
    """That of a weights file's notes, written out or by its recipe's name; None where unknown.

    Raises SkeletonError that names the source.
    """
    if isinstance(notes.get("skeleton"), dict):
        return Skeleton.from_dict(notes["skeleton"], source)
    name = notes.get("recipe", {}).get("skeleton")
    try:
        return None if name is None else Skeleton.load(name)
    except SkeletonError:  # a file that has moved: older weights name it alone
        return None


def recipe_network(recipe: Recipe, found: Mapping[str, Any], source: str) -> dict[str, Any]:
    """`describe_network` for weights of another origin; `found`: what their file tells of them.

    Raises ValueError where the recipe is of another network or number of keypoints.
    """
    joints = int(found["joints"])
    described = describe_network(recipe, joints)
    if described["network"] != found["network"]:
        raise ValueError(
            f"{source} holds {found['network']}, recipe {recipe.name} is of {described['network']}"
        )
    if recipe.skeleton is not None and len(Skeleton.load(recipe.skeleton)) != joints:
        raise ValueError(
            f"{source} gives {joints} keypoints, recipe {recipe.name} has the skeleton "
            f"{recipe.skeleton} of {len(Skeleton.load(recipe.skeleton))}"
        )
    return described


def normalised_as(recipe: Recipe, notes: Mapping[str, Any]) -> Recipe:
    """The recipe with the mean and deviation that weights of another project ask for, if any."""
    asked = {key: tuple(values) for key, values in notes.get("input", {}).items()}
    return recipe.model_copy(update={"input": recipe.input.model_copy(update=asked)})


def check_network(recipe: Recipe) -> None:
    """Build a recipe's network without memory, only to see that it can be.

    Raises ValueError that names the network or option that does not exist or does not fit.
    """
    joints = len(Skeleton.load(recipe.skeleton)) if recipe.skeleton else CHANNELS
    with torch.device("meta"):
        build(**describe_network(recipe, joints))


def load_network(path: Path) -> nn.Module:
    """The network that `poised train` wrote beside an exported model, ready to run (eval)."""
    tensors, notes = read_tensors(path)
    if "network" not in notes:
        raise ValueError(
            f"{path} does not say which network it holds: of a training's folder take the weights, "
            "<name>.safetensors, not the state; other projects' go through `poised import-weights`"
        )
    network = build_fitting(notes["network"], tensors, str(path))
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    )
    return network.eval()


def build_fitting(described: Any, tensors: Mapping[str, Tensor], source: str) -> nn.Module:
    """The network that a file describes; ValueError that names the file where it cannot be.

    First without memory: what is described may be of any size, but it has the file's tensors.
    """
    try:
        with torch.device("meta"):
            shapes = {name: value.to("meta") for name, value in tensors.items()}
            build(**described).load_state_dict(shapes)
        return build(**described)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{source}: no network is {short(described)}: {short(error)}") from error
    except ValueError as error:
        if source in str(error):
            raise
        raise ValueError(f"{source}: {short(error)}") from error
