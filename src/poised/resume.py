"""A training's state on disk: a run goes on from it as if it had never stopped, or is refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poised.checkpoint import read_tensors, save_tensors
from poised.files import moved_aside
from poised.reading import is_strict

STATE = "state.safetensors"
FREE = (  # fields of a recipe that may change on the way: they do not say what a step does
    "base",
    "paper",
    "reported",
    "measured",
    "test",
    "export",
    "backbone.paper",
    "optimise.epochs",
    "optimise.minutes",
    "optimise.workers",
    "optimise.step",
    "optimise.devices",
    "optimise.validate_every",
    "optimise.patience",
)

ABOUT = ("samples", "joints", "people")  # what a state says of its training beside the recipe
COUNTED = ("step", "seconds", "validated", "best", "best_step")  # numbers of a state
Saved = tuple[dict[str, Tensor], dict[str, Any]]  # a state's tensors and notes


@dataclass
class TrainingState:
    """All that a training is between two steps.

    about: what is trained, {"recipe": its values, "samples": how many there are, "joints": the
    skeleton, which the recipe may name a file of, "people": the hash of their labels}.
    average: the running mean of the network's state; scaler: of fp16's losses. step: how many are
    done, which says where in the data it is; validated: the last one that was validated; best: the
    best figure, None before any, and the step that it is of.
    """

    about: dict[str, Any]
    network: nn.Module
    optimiser: torch.optim.Optimizer
    average: dict[str, Tensor]
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    seconds: float = 0.0
    validated: int = 0
    best: float | None = None
    best_step: int = 0

    def save(self, out: Path) -> None:
        """Write out/state.safetensors, whole or not at all."""
        tensors = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.items()}
        notes = {name: getattr(self, name) for name in COUNTED} | self.about
        if self.scaler is not None:
            notes["scaler"] = self.scaler.state_dict()
        save_tensors(out / STATE, tensors | optimiser_tensors(self.optimiser), notes)

    def restore(self, saved: Saved) -> None:
        """Put back what `find_state` found: each tensor on the device and in the layout it had."""
        tensors, notes = saved
        self.network.load_state_dict(
            {k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")}
        )
        for name, value in self.average.items():
            value.copy_(tensors[f"average.{name}"])
        restore_optimiser(self.optimiser, tensors)
        for name in COUNTED:
            setattr(self, name, notes.get(name, getattr(self, name)))  # old states have two
        if self.scaler is not None and "scaler" in notes:
            self.scaler.load_state_dict(notes["scaler"])


def find_state(out: Path, about: Mapping[str, Any]) -> Saved | None:
    """The state in `out`; None where there is none.

    Raises ValueError where it is of another training than `about`: of other fields of the recipe
    than those in FREE, or of another number of samples. Each is named with both its values.
    """
    path = out / STATE
    if not path.is_file():
        return None
    tensors, notes = read_tensors(path)
    if not isinstance(notes.get("recipe"), dict) or "step" not in notes or not is_strict(notes):
        raise ValueError(f"{path} is no training's state; choose another folder (--out OTHER)")
    known = [name for name in ABOUT if name in notes]  # older states know less
    old, new = (
        _fields({**each["recipe"], **{name: each.get(name) for name in known}})
        for each in (notes, about)
    )
    unlike = [
        f"{name} is {_shown(old.get(name))} there and {_shown(new.get(name))} here"
        for name in {**old, **new}
        if old.get(name) != new.get(name)
    ]
    if unlike:
        raise ValueError(
            f"{out} holds another training: {'; '.join(unlike)}. Train in another folder "
            "(--out OTHER), or begin anew in this one (--restart)."
        )
    return tensors, notes


def put_away(out: Path) -> Path | None:
    """Move the files of the run in `out` into out/earlier-1 (-2, ...), its state first.

    Cut short anywhere, it leaves no state that a new run could take for its own. Returns the
    folder, None where there was nothing to move.
    """
    names = [STATE, "recipe.yaml", "measured.yaml", "log"]
    if (out / STATE).is_file():
        name = read_tensors(out / STATE)[1].get("recipe", {}).get("name", "")
        names += [f"{name}.safetensors", f"{name}.onnx", f"{name}-best.safetensors"]
    return moved_aside(out, names)


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimiser's state, flat: `optimiser.<parameter>.<name>`."""
    return {
        f"optimiser.{parameter}.{name}": value
        for parameter, values in optimiser.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put `optimiser_tensors` back, in each parameter's dtype, device and layout.

    A file has one layout, the weights of a convolution another (channels-last); and the fused
    optimisers walk through a weight and its moments as they lie in memory.
    """
    parameters = [weight for group in optimiser.param_groups for weight in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, number, name = key.split(".")
            weight = parameters[int(number)]
            moment = value.shape == weight.shape  # else it counts the steps
            put_back = torch.empty_like(weight).copy_(value) if moment else value
            state.setdefault(int(number), {})[name] = put_back
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _fields(values: Mapping[str, Any], inside: str = "") -> dict[str, Any]:
    """Nested values by their dotted names, those in FREE left out."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = inside + key
        if name not in FREE:
            flat |= _fields(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat
