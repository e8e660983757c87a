"""`poised doctor`."""

from __future__ import annotations

import typer

from poised.cli.common import app, print_table, say


@app.command()
def doctor() -> None:
    """Say what runs here, in which precision, and what is missing with the command that mends it.

    Exit code 1 where what every use needs does not work: an engine that reads ONNX, or a model.
    """
    from rich.markup import escape
    from rich.table import Table

    from poised.doctor import findings

    table, broken = Table("", "what", "found", "to mend"), False
    for finding in findings():
        broken |= finding.needed and not finding.ok
        mark = "ok" if finding.ok else "broken" if finding.needed else "absent"
        mend = "" if finding.ok else finding.mend
        table.add_row(mark, *map(escape, (finding.thing, finding.found, mend)))
    print_table(table)
    if broken:
        say("what is broken here is needed by every prediction", err=True)
        raise typer.Exit(1)
