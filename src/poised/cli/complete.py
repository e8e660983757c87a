"""What a shell is told that asks for a name; where none begins so, it goes on to files."""

from __future__ import annotations

from collections.abc import Iterable

from poised.bundled import known_models, recipe_names


def pose_model(incomplete: str) -> list[str]:
    """The bundled pose models that begin so."""
    return _beginning(incomplete, _bundled("pose"))


def detector(incomplete: str) -> list[str]:
    """The bundled detectors that begin so."""
    return _beginning(incomplete, _bundled("detector"))


def model(incomplete: str) -> list[str]:
    """The bundled models of any kind that begin so."""
    return _beginning(incomplete, _bundled(""))


def recipe(incomplete: str) -> list[str]:
    """The recipes of the package that begin so."""
    return _beginning(incomplete, recipe_names())


def _bundled(use: str) -> list[str]:
    return [
        row["name"]
        for row in known_models()
        if row["source"].startswith("bundled") and row["use"].startswith(use)
    ]


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
