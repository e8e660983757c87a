"""poised: 2D human pose estimation, from a photograph to keypoints and from a paper to a model."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poised.predict import Predictor
    from poised.types import Boxes, ImagePoses, Pose, Skeleton

__version__ = "0.1.0"
__all__ = ["Boxes", "ImagePoses", "Pose", "Predictor", "Skeleton", "__version__"]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    """Import on first use, so that `import poised` stays light."""
    if name == "Predictor":
        from poised.predict import Predictor

        return Predictor
    if name in __all__:
        from poised import types

        return getattr(types, name)
    raise AttributeError(f"module 'poised' has no attribute {name!r}")
