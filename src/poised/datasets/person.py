"""One labelled person of one image: what every data set is read into."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Split = Literal["train", "test"]


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """image: the file; xywh: (4,) box in image pixels; xy: (K, 2) image pixels; visible: (K,)."""

    image: Path
    xywh: NDArray[np.float64]
    xy: NDArray[np.float64]
    visible: NDArray[np.bool_]

    def __post_init__(self) -> None:
        if self.xywh.shape != (4,) or self.xy.shape != (len(self.visible), 2):
            raise ValueError(
                f"Person of {self.image}: box {self.xywh.shape}, xy {self.xy.shape} and visible "
                f"{self.visible.shape} do not fit (4,), (K, 2), (K,)"
            )
        for array in (self.xywh, self.xy, self.visible):
            array.flags.writeable = False
