"""`poised serve` as a process: what it says, its signals, a port that is taken."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

for needed in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
    pytest.importorskip(needed, reason="needs poised[serve]")
from models import colour_model, fixed_detector
from served import TYPE, form, picture
from test_predict import dots
from typer.testing import CliRunner

from poised.cli import app
from poised.serve.run import load

SOURCE = Path(__file__).resolve().parents[1] / "src"


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Of a small model and a detector that finds one box in every image."""
    folder = tmp_path_factory.mktemp("models")
    model = colour_model(folder / "dots.onnx")
    detector = fixed_detector(folder / "one.onnx", [[10.0, 12, 50, 60]], [0.9])
    return ["--model", str(model), "--detector", str(detector), "--threads", "1"]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_leaves_when_told(options: list[str], number: int) -> None:
    """Two lines and nothing of the requests; an image is answered in between."""
    process = subprocess.Popen(
        [sys.executable, "-m", "poised", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "FASTAPI_OTEL_AUTO_CONFIGURE": "true"},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = re.fullmatch(
            r"poised serves dots at http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline()
        )
        assert said is not None
        connection = http.client.HTTPConnection("127.0.0.1", int(said[1]), timeout=30)
        connection.request("POST", "/v1/predict", form(picture(dots())), {"Content-Type": TYPE})
        assert connection.getresponse().status == 200
        connection.close()
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (out, err, process.returncode) == ("stopped; what was under way is answered\n", "", 0)


def refused(*arguments: str) -> str:
    """The one line of a command that fails at once."""
    done = CliRunner().invoke(app, ["serve", *arguments])
    assert done.exit_code == 2
    assert done.stdout == ""
    return done.stderr.strip()


def test_a_port_that_is_taken(options: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused("--port", str(port), *options)
    assert said == (
        f"Error: cannot listen at port {port} of 127.0.0.1: Address already in use; "
        "give another --port or --host"
    )


def test_what_cannot_be_served_is_said_before_it_listens(options: list[str]) -> None:
    assert "no model file nothing.onnx" in refused("--port", "0", "--model", "nothing.onnx")
    assert refused("--seconds", "0") == "Error: seconds is 0.0, must be at least 1 and finite"
    assert "two models are named dots" in refused("--port", "0", *options, *options[:2])


def test_a_model_is_named_by_its_file(options: list[str]) -> None:
    assert list(load([options[1]], options[3], 1)) == ["dots"]
