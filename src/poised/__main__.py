"""`python -m poised`: the command line."""

from poised.cli import app

app()
