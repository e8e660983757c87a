"""What a command answers: lines and tables for people, or with --json one document for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, signature
from typing import Annotated, Any

import typer

from poised.cli.common import errors, print_table, say
from poised.reading import json_text

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document, and all else to stderr.")
]


@dataclass(frozen=True)
class Answer:
    """What came of a command.

    facts: plain values for JSON, no NaN among them; paths become text. shown: the same for people,
    lines and rich's tables. notes: lines for stderr in either case. code: to exit by.
    """

    facts: Any
    shown: Sequence[Any]
    notes: Sequence[str] = ()
    code: int = 0


def answers(command: Callable[..., Answer | None]) -> Callable[..., None]:
    """Give a command --json, and print what it answers; None is no answer.

    With --json whatever else is printed in between, by anybody's code, goes to stderr.
    """

    @wraps(command)
    def run(*, json: bool, **given: Any) -> None:
        with redirect_stdout(sys.stderr) if json else nullcontext():
            answer = command(**given)
        if answer is None:
            return
        with errors():
            if json:
                say(json_text(answer.facts))
            else:
                for part in answer.shown:
                    (say if isinstance(part, str) else print_table)(part)
            for line in answer.notes:
                say(line, err=True)
        if answer.code:
            raise typer.Exit(answer.code)

    asked = Parameter("json", Parameter.KEYWORD_ONLY, default=False, annotation=Json)
    own = signature(command, eval_str=True)
    parameters = [*own.parameters.values(), asked]
    vars(run)["__signature__"] = own.replace(parameters=parameters)  # what typer reads
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run
