"""Recipes from their files: the package's, by name, and anybody's own.

`poised train RECIPE key=value ...`: a dotted key reaches into the file, the value is YAML. A
recipe may name one other as its `base`, whose fields it takes over, part by part, and so on.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from poised.bundled import recipe_files
from poised.reading import parse_yaml, read_yaml, short
from poised.recipe import Recipe, Test


class RecipeError(ValueError):
    """A recipe that cannot be used: names the file, the field, the value and what fits."""


def load_recipe(name_or_path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe by name or path and set `a.b=value` on it; raises RecipeError."""
    values = _read(name_or_path)
    _place(values)
    return changed(values, overrides, f"recipe {name_or_path}")


def _place(values: dict[str, Any]) -> None:
    """Say of each reported figure what it was had on, before that is changed."""
    test, rows, data = values.get("test"), values.get("reported"), values.get("dataset")
    split = test.get("split") if isinstance(test, dict) else None
    name = data.get("name") if isinstance(data, dict) else None
    for row in rows if isinstance(rows, list) else []:
        if isinstance(row, dict):
            row.setdefault("split", split or Test().split)
            row.setdefault("dataset", name)


def changed(values: dict[str, Any], overrides: Sequence[str], source: str) -> Recipe:
    """The recipe of such values with `a.b=value` set on it; raises RecipeError."""
    for override in overrides:
        _set(values, override)
    return validated(values, source)


def validated(values: Any, source: str) -> Recipe:
    """The recipe of such values; RecipeError names the source and each field that does not fit."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']} "
            f"(got {short(repr(fault['input']))})" + _near(fault["loc"])
            if fault["loc"]  # else of several fields, which the message names
            else fault["msg"].removeprefix("Value error, ")
            for fault in error.errors()
        )
        raise RecipeError(f"{source}: {faults}") from error


def _near(place: tuple[int | str, ...]) -> str:
    """Which known field an unknown one at a place in a recipe may have been meant to be."""
    fields = Recipe.model_fields
    for name in place[:-1]:
        if isinstance(name, str):  # a number is a place in a list, whose parts are alike
            kind = fields[name].annotation if name in fields else None
            parts = [k for k in (kind, *get_args(kind)) if hasattr(k, "model_fields")]
            fields = parts[0].model_fields if parts else {}
    if not place or not fields or place[-1] in fields:
        return ""
    close = difflib.get_close_matches(str(place[-1]), fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(fields)}"


def _read(name_or_path: str, above: tuple[Path, ...] = ()) -> dict[str, Any]:
    """A recipe's values, its base's beneath them; above: the recipes whose base this is."""
    path = _file(name_or_path)
    if path.resolve() in above:
        chain = " -> ".join(p.stem for p in (*above, path))
        raise RecipeError(f"recipe {above[0]}: its bases go round in a circle: {chain}")
    values = read_yaml(path, RecipeError)
    if not isinstance(values, dict):
        raise RecipeError(f"recipe {path}: not a mapping of fields")
    values.setdefault("name", path.stem)
    base = values.get("base")
    if base is None:
        return values
    if str(base).endswith((".yaml", ".yml")):  # from this file's folder
        base = path.parent / str(base)
    below = _read(str(base), (*above, path.resolve()))
    below = {key: value for key, value in below.items() if key not in ("reported", "measured")}
    for key, value in values.items():
        both = isinstance(value, dict) and isinstance(below.get(key), dict)
        below[key] = {**below[key], **value} if both else value
    return below


def _file(name_or_path: str) -> Path:
    """The file of a recipe of the package or of the user's."""
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        files = recipe_files()
        if name_or_path not in files:
            close = ", ".join(difflib.get_close_matches(name_or_path, files, n=3)) or "none is near"
            raise RecipeError(
                f"no recipe {name_or_path!r} (close to it: {close}); `poised recipes` lists them"
            )
        path = files[name_or_path]
    elif not path.is_file():
        raise RecipeError(f"no recipe file {path}")
    return path


def _set(values: dict[str, Any], override: str) -> None:
    """Put one `a.b=value` into the nested dict."""
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise RecipeError(f"{override!r} is not key=value; for instance optimise.epochs=5")
    *folders, last = key.split(".")
    for folder in folders:
        values = values.setdefault(folder, {})
        if not isinstance(values, dict):
            raise RecipeError(f"{override!r}: {folder} is a value, not a group of fields")
    values[last] = parse_yaml(value, repr(override), RecipeError)
