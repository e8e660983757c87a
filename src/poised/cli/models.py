"""`poised models`."""

from __future__ import annotations

from importlib import resources

from poised.cli.common import app, errors, print_table, say


@app.command()
def models() -> None:
    """List the bundled models and public ones that can be used, with licence and figures.

    Nothing is fetched: `source` names the project that has the file. docs/models.md says more.
    """
    with errors():
        import yaml
        from rich.table import Table

        from poised.runtime import bundled_models, find_model

        text = resources.files("poised").joinpath("models", "known.yaml").read_text("utf-8")
        rows = yaml.safe_load(text)
        unlisted = sorted(set(bundled_models()) - {row["name"] for row in rows})
        rows = [{"name": name, "source": "bundled"} for name in unlisted] + rows
        table = Table("model", "what", "MB", "licence", "source", "figures", "measured on")
        for row in rows:
            size = ""
            if row["name"] in bundled_models():
                size = f"{find_model(row['name']).stat().st_size / 1e6:.1f}"
            fields = ("licence", "source", "figures", "measured")
            values = (str(row.get(field, "")) for field in fields)
            table.add_row(row["name"], row.get("use", ""), size, *values)
        print_table(table)
        say("--model and --detector take a bundled name, or an ONNX file: see docs/models.md")
