"""`poised models`."""

from __future__ import annotations

from poised.cli.answer import Answer, answers
from poised.cli.common import app, errors


@app.command()
@answers
def models() -> Answer:
    """List the bundled models and public ones that can be used, with licence and figures.

    Nothing is fetched: `source` names the project that has the file. docs/models.md says more.
    """
    with errors():
        from rich.table import Table

        from poised.bundled import bundled_models, known_models
        from poised.runtime import find_model

        rows = known_models()
        unlisted = sorted(set(bundled_models()) - {row["name"] for row in rows})
        rows = [{"name": name, "source": "bundled"} for name in unlisted] + rows
        table = Table("model", "what", "MB", "licence", "source", "figures", "measured on")
        for row in rows:
            size = ""
            if row["name"] in bundled_models():
                row["bytes"] = find_model(row["name"]).stat().st_size
                size = f"{row['bytes'] / 1e6:.1f}"
            fields = ("licence", "source", "figures", "measured")
            values = (str(row.get(field, "")) for field in fields)
            table.add_row(row["name"], row.get("use", ""), size, *values)
    told = "--model and --detector take a bundled name, or an ONNX file: see docs/models.md"
    return Answer(rows, [table, told])
