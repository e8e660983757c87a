"""The networks: one readable file each, and the one dict that names them."""

from __future__ import annotations

import difflib

from torch import nn

from poised.nets.lite_pyramid import LitePyramid
from poised.nets.plain_pyramid import PlainPyramid
from poised.nets.simple_baseline import SimpleBaseline

NETWORKS: dict[str, type[nn.Module]] = {
    "lite_pyramid": LitePyramid,
    "plain_pyramid": PlainPyramid,
    "simple_baseline": SimpleBaseline,
}


def build(network: str, *, joints: int, **options: object) -> nn.Module:
    """The network of that name for a skeleton of `joints` keypoints; options are its arguments."""
    if network not in NETWORKS:
        close = difflib.get_close_matches(network, NETWORKS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"no network named {network!r}.{hint} Known: {', '.join(NETWORKS)}.")
    try:
        return NETWORKS[network](joints=joints, **options)
    except TypeError as error:  # an option that the network does not have
        raise ValueError(f"network {network!r}: {error}") from error
