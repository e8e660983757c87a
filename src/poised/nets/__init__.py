"""The networks: one readable file each, and the one dict that names them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterable, Sequence

from torch import nn

from poised.nets.cpn import CPN
from poised.nets.csanet import CSANet
from poised.nets.efafnet import EFAFNet
from poised.nets.hourglass import StackedHourglass
from poised.nets.hrnet import HRNet
from poised.nets.lite_pyramid import LitePyramid
from poised.nets.movenet import MoveNet
from poised.nets.multi_context import MultiContextAttention
from poised.nets.plain_pyramid import PlainPyramid
from poised.nets.plain_resnet import PlainResNet
from poised.nets.rtmdet import RTMDet
from poised.nets.simple_baseline import SimpleBaseline
from poised.nets.spcnet import SPCNet

NETWORKS: dict[str, type[nn.Module]] = {
    "cpn": CPN,
    "csanet": CSANet,
    "efafnet": EFAFNet,
    "hourglass": StackedHourglass,
    "hrnet": HRNet,
    "lite_pyramid": LitePyramid,
    "movenet": MoveNet,
    "multi_context": MultiContextAttention,
    "plain_pyramid": PlainPyramid,
    "plain_resnet": PlainResNet,
    "rtmdet": RTMDet,
    "simple_baseline": SimpleBaseline,
    "spcnet": SPCNet,
}
BY_PARTS = ("csanet",)  # networks that supervise the skeleton's part groups apart


def build(
    network: str, *, joints: int, groups: Iterable[Sequence[int]] = (), **options: object
) -> nn.Module:
    """The network of that name for a skeleton of `joints` keypoints; options are its arguments.

    groups: the skeleton's parts, for the networks in BY_PARTS. Raises ValueError that names what
    does not fit.
    """
    if network not in NETWORKS:
        close = difflib.get_close_matches(network, NETWORKS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no network named {network!r}.{hint} Known: {', '.join(NETWORKS)}.")
    known = set(inspect.signature(NETWORKS[network]).parameters) - {"joints", "groups"}
    for option in options.keys() - known:
        close = difflib.get_close_matches(option, known, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(
            f"network {network!r} has no option {option!r}.{hint} Its own: "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    if network in BY_PARTS:
        options["groups"] = parts = [list(group) for group in groups]
        if not any(parts) or not {k for part in parts for k in part} <= set(range(joints)):
            raise ValueError(
                f"network {network!r} supervises a skeleton's parts: groups {parts} must be places "
                f"of its {joints} keypoints, as `Skeleton.groups` has them"
            )
    try:
        built = NETWORKS[network](joints=joints, **options)
        if any(not weights.numel() for weights in built.parameters()):  # torch only warns
            raise ValueError("it would have weights without a number")
        return built
    except (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError, Warning) as error:
        # a value that an option cannot have
        raise ValueError(f"network {network!r} with {options}: {error}") from error
