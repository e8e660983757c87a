"""Fill docs/networks/*.md: the diagram of each network, from its own run, and its cost table.

python docs/draw_networks.py            rewrites what stands between the pages' markers

The network is run once without memory (torch's meta device); an arrow is a tensor that one of its
modules gave and another took, through whatever functions lie between.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from poised.bundled import recipe_names
from poised.cost import measure_cost
from poised.nets import build
from poised.nets.rtmdet import CHANNELS
from poised.read_recipe import load_recipe
from poised.types import Skeleton

PAGES = Path(__file__).parent / "networks"
# page -> (options of the network drawn, the modules that are opened in it)
DRAWN: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "cpn": ({}, ("global_net", "refine_net")),
    "csanet": ({}, ("structure", "spatial")),
    "efafnet": ({}, ()),
    "hourglass": ({"stacks": 2}, ()),
    "hrnet": ({}, ("backbone",)),
    "lite_pyramid": ({"second_look": 4}, ("pyramid",)),
    "movenet": ({"second_look": 4, "width": 96}, ("pyramid", "wide_pyramid")),
    "multi_context": ({"stacks": 2}, ()),
    "plain_pyramid": ({}, ()),
    "plain_resnet": ({}, ()),
    "rtmdet": ({"joints": CHANNELS}, ("pyramid",)),
    "simple_baseline": ({}, ()),
    "spcnet": ({"modules": 2}, ("selective",)),
}
SIZE = (256, 256)
SKELETON = "coco17"


class Flow(TorchFunctionMode):
    """Remembers which modules each tensor comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.origins: dict[int, frozenset[str]] = {}
        self.alive: list[Tensor] = []  # an id is unique only while its tensor lives
        self.arrows: dict[tuple[str, str], dict[str, None]] = {}  # the shapes that pass, in order

    def mark(self, value: Any, origins: Iterable[str]) -> None:
        for tensor in tree_leaves(value):
            if isinstance(tensor, Tensor):
                self.origins[id(tensor)] = frozenset(origins)
                self.alive.append(tensor)

    def point(self, source: str, target: str, size: str) -> None:
        self.arrows.setdefault((source, target), {})[size] = None

    def of(self, value: Any) -> frozenset[str]:
        found = [self.origins.get(id(t), frozenset()) for t in tree_leaves(value)]
        return frozenset().union(*found)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sources = self.of([args, kwargs])
        if sources:
            self.mark(out, sources)
        return out


def shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape[1:]))


def nodes(network: nn.Module, opened: tuple[str, ...]) -> dict[str, nn.Module]:
    """The modules that are drawn: children, and those inside lists and opened ones."""
    found: dict[str, nn.Module] = {}

    def visit(module: nn.Module, name: str) -> None:
        for key, child in module.named_children():
            path = f"{name}.{key}" if name else key
            if isinstance(child, nn.ModuleList | nn.ModuleDict) or path in opened:
                visit(child, path)
            elif not isinstance(child, nn.Identity):
                found[path] = child

    visit(network, "")
    return found


def diagram(name: str) -> str:
    """The network as a mermaid flow chart."""
    options, opened = DRAWN[name]
    skeleton = Skeleton.load(SKELETON)
    with torch.device("meta"):
        groups = list(skeleton.groups.values())
        network = build(name, **{"joints": len(skeleton), "groups": groups, **options}).eval()
        images = torch.zeros(1, 3, *SIZE[::-1])
    flow = Flow()
    drawn = nodes(network, opened)
    for path, module in drawn.items():

        def before(_module: nn.Module, inputs: Any, path: str = path) -> None:
            for tensor in tree_leaves(inputs):
                for source in sorted(flow.of(tensor)) if isinstance(tensor, Tensor) else ():
                    flow.point(source, path, shape(tensor))

        def after(_module: nn.Module, _inputs: Any, out: Any, path: str = path) -> None:
            flow.mark(out, [path])

        module.register_forward_pre_hook(before)
        module.register_forward_hook(after)
    flow.mark(images, ["images"])
    with flow, torch.no_grad():
        outputs = network(images)
    last = outputs[-1]
    for maps in outputs:
        level = maps.shape[1] == last.shape[1] and maps.shape != last.shape  # of a detector's
        target = "prediction" if level or maps is last else "supervised"
        for source in sorted(flow.of(maps)):
            flow.point(source, target, shape(maps))
    used = {end for arrow in flow.arrows for end in arrow}
    lines = ["```mermaid", "flowchart TD"]
    lines += [
        f'  {_id(path)}["{path}<br/><small>{type(module).__name__}</small>"]'
        for path, module in drawn.items()
        if path in used
    ]
    lines += [
        f'  {_id(source)} -- "{", ".join(sizes)}" --> {_id(target)}'
        for (source, target), sizes in flow.arrows.items()
    ]
    return "\n".join([*lines, "```"])


def _id(path: str) -> str:
    return path.replace(".", "_")


def cost_table(name: str) -> str:
    """Every recipe of a network, those of one cost in one row."""
    rows: dict[tuple[str, ...], list[str]] = {}
    for recipe_name in recipe_names():
        recipe = load_recipe(recipe_name)
        if recipe.network.name != name:
            continue
        row = measure_cost(recipe)
        width, height = recipe.input.size
        counted = [p for p in row.published if "MACs_G" in p.figures]
        claims = sorted(
            {f"{k} {v:g}" for p in row.published if p not in counted for k, v in p.figures.items()}
        )
        key = (
            f"{width}x{height}",
            f"{row.params_m:.2f}",
            f"{row.macs_g:.2f}",
            f"{row.activations_m:.1f}",
            "; ".join(map(str, counted)),
            ", ".join(claims),
        )
        rows.setdefault(key, []).append(f"`{recipe_name}`")
    head = "recipes | input | params M | MACs G | activations M | public code | the paper"
    lines = [f"| {head} |", "|" + "---|" * 7]
    lines += [f"| {', '.join(names)} | {' | '.join(key)} |" for key, names in rows.items()]
    return "\n".join(lines)


def filled(text: str, marker: str, content: str) -> str:
    """The page with what stands between the two markers replaced."""
    pattern = rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)"
    new, count = re.subn(pattern, lambda m: f"{m[1]}{content}\n{m[2]}", text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"expected one pair of {marker} markers, found {count}")
    return new


def main() -> None:
    for name in DRAWN:
        page = PAGES / f"{name}.md"
        text = filled(page.read_text("utf-8"), "diagram", diagram(name))
        page.write_text(filled(text, "cost", cost_table(name)), "utf-8")
        print(page)


if __name__ == "__main__":
    main()
