"""One name means one thing: options and arguments are alike in all commands, or it is said why."""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args

import pytest
import typer
from typer.models import ArgumentInfo

from poised.cli import app

# what differs of a name between the commands that have it, and why
UNLIKE: dict[str, tuple[set[str], str]] = {
    "--boxes": ({"type", "help"}, "predict has no truth and takes images as they are: a file"),
    "--data": ({"default", "help"}, "reproduce has a recipe's; train and export go without"),
    "--dataset": ({"default", "help"}, "needed where there is no recipe; train's is --from's"),
    "--images": ({"default", "help"}, "export looks for people, convert for named files"),
    "--model": ({"type", "default", "help"}, "averaged by evaluate, side by side in serve"),
    "--out": ({"type", "default", "help"}, "each writes its own; a cluster's may be a bucket"),
    "--recipe": ({"help"}, "how to test, how to export, or what to write beside weights"),
    "--restart": ({"help"}, "train keeps what was there"),
    "--skeleton": ({"help"}, "train's is --from's; evaluate's may be a recipe's"),
    "--split": ({"default", "help"}, "to test on, to calibrate with, or to look at"),
    "--threshold": ({"default", "help"}, "convert knows no model, which has its own"),
    "--to": ({"type", "default", "help"}, "each writes its own forms"),
    "file": ({"help"}, "what each imports"),
    "model": ({"help"}, "the Hub takes what is not ours, too"),
    "recipe": ({"default", "help"}, "train goes without, by --from"),
}


def callbacks(group: typer.Typer) -> Iterator[Any]:
    """The function of every command, and of groups that do something by themselves."""
    for command in group.registered_commands:
        yield command.callback
    for below in group.registered_groups:
        assert below.typer_instance is not None
        if below.typer_instance.registered_callback is not None:
            yield below.typer_instance.registered_callback.callback
        yield from callbacks(below.typer_instance)


def uses() -> dict[str, list[dict[str, Any]]]:
    """Name -> its type, default and help in each command that has it."""
    found: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for callback in callbacks(app):
        for name, one in inspect.signature(callback, eval_str=True).parameters.items():
            if one.annotation is typer.Context:
                continue
            kind, info = get_args(one.annotation)
            if not isinstance(info, ArgumentInfo):
                given = [info.default, *(info.param_decls or ())]
                own = [word for word in given if isinstance(word, str) and word.startswith("--")]
                name = own[0] if own else "--" + name.replace("_", "-")
            default = "required" if one.default is inspect.Parameter.empty else one.default
            types = get_args(kind) if isinstance(kind, UnionType) else (kind,)
            kind = next(iter({*types} - {type(None)}))  # None is the default's affair
            found[name].append({"type": str(kind), "default": str(default), "help": info.help})
    return found


def test_the_same_name_is_the_same_thing_or_it_is_said_why() -> None:
    unlike = {}
    for name, all_uses in uses().items():
        parts = {part for part in all_uses[0] if len({use[part] for use in all_uses}) > 1}
        if parts:
            unlike[name] = parts
    assert unlike == {name: parts for name, (parts, _) in UNLIKE.items()}


def test_every_help_is_a_sentence_that_says_something() -> None:
    for name, all_uses in uses().items():
        for use in all_uses:
            assert use["help"], name
            assert "  " not in use["help"], name


@pytest.mark.parametrize("word", ["output", "input", "path", "file-name", "num", "n", "jobs"])
def test_no_other_name_for_what_has_one(word: str) -> None:
    """Results go to --out, images are arguments, threads are --threads."""
    assert f"--{word}" not in uses()
