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

WRITERS = {"evaluate", "report", "export", "cost", "convert", "import-backbone", "import-weights"}
WRITERS |= {"data convert", "data pack", "data show", "hub pull", "cluster predict"}
WRITERS |= {"train", "reproduce"}
# name -> the commands in which it is another thing than in the others, which agree; and why
UNLIKE: dict[str, tuple[set[str], str]] = {
    "--boxes": ({"predict", "reproduce"}, "predict has no truth; reproduce's default is another"),
    "--data": ({"export", "reproduce", "train"}, "they go without, or by a recipe's"),
    "--dataset": ({"evaluate", "report", "export", "train"}, "a recipe names it, or no data is"),
    "--images": ({"convert"}, "where files of a name lie, not where people are looked for"),
    "--model": ({"evaluate", "report", "serve"}, "several are averaged, or served side by side"),
    "--out": (WRITERS, "each says what it writes"),
    "--recipe": ({"export", "import-weights"}, "not how to test, but what weights were made by"),
    "--restart": ({"train"}, "it keeps what was there"),
    "--skeleton": ({"train"}, "it goes with --from"),
    "--split": ({"evaluate", "report", "export", "train"}, "theirs is what is usual for the task"),
    "--threshold": ({"convert"}, "it knows no model, which has one of its own"),
    "--to": ({"convert", "export"}, "each has forms of its own"),
    "file": ({"import-weights"}, "each says what it knows"),
    "model": ({"hub push"}, "the Hub takes what is not ours, too"),
    "recipe": ({"train"}, "it goes without, by --from"),
}


def commands(group: typer.Typer, words: str = "") -> Iterator[tuple[str, Any]]:
    """Each command and its function, also groups that do something by themselves."""
    for command in group.registered_commands:
        assert command.callback is not None
        name = command.name or command.callback.__name__.replace("_", "-")
        yield words + name, command.callback
    for below in group.registered_groups:
        assert below.typer_instance is not None
        if below.typer_instance.registered_callback is not None:
            yield f"{words}{below.name}", below.typer_instance.registered_callback.callback
        yield from commands(below.typer_instance, f"{words}{below.name} ")


def uses() -> dict[str, dict[str, tuple[str, str, str]]]:
    """Name -> command -> its type, default and help there."""
    found: defaultdict[str, dict[str, tuple[str, str, str]]] = defaultdict(dict)
    for command, callback in commands(app):
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
            found[name][command] = (str(kind), str(default), info.help)
    return found


def test_the_same_name_is_the_same_thing_or_it_is_said_why() -> None:
    for name, by_command in uses().items():
        apart, _ = UNLIKE.get(name, (set(), ""))
        assert apart <= by_command.keys(), f"{name} is not in {apart - by_command.keys()}"
        alike = {use for command, use in by_command.items() if command not in apart}
        assert len(alike) == 1, f"{name}: {alike}"
        assert alike.isdisjoint(by_command[command] for command in apart), name
    assert UNLIKE.keys() <= uses().keys()


def test_every_help_says_something() -> None:
    for name, by_command in uses().items():
        assert all(help for _, _, help in by_command.values()), name


@pytest.mark.parametrize("word", ["output", "input", "path", "file-name", "num", "n", "jobs"])
def test_no_other_name_for_what_has_one(word: str) -> None:
    """Results go to --out, images are arguments, threads are --threads."""
    assert f"--{word}" not in uses()
