"""`poised doctor`."""

from __future__ import annotations

from dataclasses import asdict

from poised.cli.answer import Answer, answers
from poised.cli.common import app


@app.command()
@answers
def doctor() -> Answer:
    """Say what runs here, in which precision, and what is missing with the command that mends it.

    Exit code 1 where what every use needs does not work: an engine that reads ONNX, or a model.
    """
    from rich.markup import escape
    from rich.table import Table

    from poised.doctor import findings

    found = list(findings())
    table = Table("", "what", "found", "to mend")
    for finding in found:
        mark = "ok" if finding.ok else "broken" if finding.needed else "absent"
        mend = "" if finding.ok else finding.mend
        table.add_row(mark, *map(escape, (finding.thing, finding.found, mend)))
    broken = any(finding.needed and not finding.ok for finding in found)
    notes = ["what is broken here is needed by every prediction"] if broken else []
    return Answer([asdict(finding) for finding in found], [table], notes, int(broken))
