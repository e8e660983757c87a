"""What a network attends to, read off its own modules while it runs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from poised.nets.efafnet import LocationSelection
from poised.nets.multi_context import AttentionMaps
from poised.nets.spcnet import InformationDistribution

ATTENTION = (AttentionMaps, InformationDistribution, LocationSelection)


@torch.inference_mode()
def attention_maps(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Each attention module's name -> its maps (N, maps, h, w), in the order in which they ran.

    Multi-Context Attention's Phi, SPCNet's weights of the four levels, EFAFNet's LSS; {} for a
    network that has none. images: (N, 3, H, W), normalised.
    """
    seen: dict[str, Tensor] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, ATTENTION):

            def keep(_: nn.Module, __: object, maps: Tensor, name: str = name) -> None:
                seen[name] = maps

            hooks.append(module.register_forward_hook(keep))
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
