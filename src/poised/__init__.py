"""poised: 2D human pose estimation, from a photograph to keypoints and from a paper to a model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poised.images import ImageError
    from poised.model_fields import ModelError
    from poised.predict import Predictor
    from poised.types import Boxes, ImagePoses, Pose, Skeleton

__version__ = "0.1.0"
MODULES = {
    "Boxes": "types",
    "ImageError": "images",
    "ImagePoses": "types",
    "ModelError": "model_fields",
    "Pose": "types",
    "Predictor": "predict",
    "Skeleton": "types",
}
__all__ = [
    "Boxes",
    "ImageError",
    "ImagePoses",
    "ModelError",
    "Pose",
    "Predictor",
    "Skeleton",
    "__version__",
]


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> object:
    """Import on first use, so that `import poised` stays light."""
    if name in MODULES:
        return getattr(import_module(f"poised.{MODULES[name]}"), name)
    raise AttributeError(f"module 'poised' has no attribute {name!r}")
