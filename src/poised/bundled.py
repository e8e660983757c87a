"""What the package brings, by name: models and recipes. Light, as a shell asks at each key."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

HERE = Path(str(resources.files("poised")))


def bundled_models() -> list[str]:
    """The names of the models in the package."""
    return sorted(path.stem for path in (HERE / "models").glob("*.onnx"))


def known_models() -> list[dict[str, Any]]:
    """The bundled models, and public ones, as models/known.yaml describes them."""
    import yaml

    rows: list[dict[str, Any]] = yaml.safe_load((HERE / "models/known.yaml").read_text("utf-8"))
    return rows


def recipe_files() -> dict[str, Path]:
    """The recipes of the package, by name: recipes/<name>.yaml and recipes/<paper>/<name>.yaml."""
    return {path.stem: path for path in sorted((HERE / "recipes").rglob("*.yaml"))}


def recipe_names() -> list[str]:
    """The names of the recipes in the package."""
    return sorted(recipe_files())
