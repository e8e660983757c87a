"""Print the table of docs/cluster.md: what each paper's main row costs, and its hours.

python docs/write_hours.py [TFLOP_S [SHARE]]     a device's peak and the share of it that is reached
"""

from __future__ import annotations

import sys

from poised.cost import measure_cost
from poised.read_recipe import load_recipe
from poised.reproduce import WHOLE

ROWS = ("cpn", "csanet", "efafnet", "spcnet", "multi_context", "csanet-sbn", "hrnet-w32")
PEAK, SHARE = 312.0, 0.10  # an A100's bf16, dense; see the page


def table(peak: float = PEAK, share: float = SHARE) -> list[str]:
    """A line a row, after two of head."""
    lines = ["| row | people x epochs | G MACs an image | EFLOP | 1 GPU | 4 GPUs | 8 GPUs |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name in ROWS:
        recipe = load_recipe(name)
        people = WHOLE[recipe.dataset.name, recipe.dataset.train]
        macs, epochs = measure_cost(recipe).macs_g, recipe.optimise.epochs
        work = 6e9 * macs * people * epochs
        hours = work / (peak * 1e12 * share) / 3600
        cells = [f"`{name}`", f"{people} x {epochs}", f"{macs:.2f}", f"{work / 1e18:.2f}"]
        cells += [f"{hours / devices:.1f} h" for devices in (1, 4, 8)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    print("\n".join(table(*map(float, sys.argv[1:]))))
