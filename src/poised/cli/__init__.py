"""The command line: parses and calls, decides nothing. One file a family of commands."""

from __future__ import annotations

from poised.cli import (
    cluster,
    convert,
    data,
    doctor,
    evaluate,
    export,
    models,
    predict,
    reproduce,
    serve,
    train,
)
from poised.cli.common import app

__all__ = [
    "app",
    "cluster",
    "convert",
    "data",
    "doctor",
    "evaluate",
    "export",
    "models",
    "predict",
    "reproduce",
    "serve",
    "train",
]
