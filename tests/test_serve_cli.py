"""`poised serve` as a process: what it says, its signals, a port that is taken."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from models import colour_model, fixed_detector
from served import TYPE, form, head, picture
from test_predict import dots
from typer.testing import CliRunner
from waiting import until

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


@contextmanager
def started(options: list[str], port: int = 0) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`poised serve` in a process, and the port at which it says that it is."""
    process = subprocess.Popen(
        [sys.executable, "-m", "poised", "serve", "--port", str(port), *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "FASTAPI_OTEL_AUTO_CONFIGURE": "true"},
    )  # fmt: skip
    with process:
        try:
            assert process.stdout is not None
            said = re.fullmatch(
                r"poised serves dots at http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline()
            )
            assert said is not None
            yield process, int(said[1])
        finally:
            process.kill()


def ask(port: int) -> tuple[int, list[dict[str, Any]]]:
    """Status, and the people of a picture that is sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/v1/predict", form(picture(dots())), {"Content-Type": TYPE})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["images"][0]["people"]
    finally:
        connection.close()


posix = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="POSIX signals")


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_is_and_leaves_when_told(options: list[str], number: int) -> None:
    """Two lines and nothing of the requests; an image is answered in between."""
    with started(options) as (process, port):
        assert ask(port)[0] == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (out, err, process.returncode) == ("stopped; what was under way is answered\n", "", 0)


@posix
def test_one_that_is_killed_starts_again_at_once(options: list[str]) -> None:
    """At its port, amid the requests of four clients: each has the right answers, and in the end
    an error of its connection."""
    answers: list[tuple[int, list[dict[str, Any]]]] = []
    errors: list[OSError | http.client.HTTPException] = []

    def ask_on() -> None:
        try:
            while True:
                answers.append(ask(port))
        except (OSError, http.client.HTTPException) as error:
            errors.append(error)

    with started([*options, "--rate", "0"]) as (process, port):
        first = ask(port)
        clients = [threading.Thread(target=ask_on) for _ in range(4)]
        for client in clients:
            client.start()
        until(lambda: len(answers) >= 12)
        process.kill()
        for client in clients:
            client.join()
    assert len(errors) == 4
    assert [answer for answer in answers if answer != first] == []
    with started(options, port) as (_, again):
        assert (again, ask(again)) == (port, first)


@posix
def test_what_is_under_way_is_answered_and_nothing_new(options: list[str]) -> None:
    """A request has been begun when the signal comes: from then on nobody else is let in, and it
    may be sent to its end."""
    body = form(picture(dots()))
    start = head(len(body)).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")

    def closed() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=30).close()
        except ConnectionError:
            return True
        return False

    with started(options) as (process, port):
        assert "Address already in use" in refused("--port", str(port), *options)
        with socket.create_connection(("127.0.0.1", port), timeout=30) as raw:
            raw.sendall(start)
            assert raw.recv(1000).startswith(b"HTTP/1.1 100 ")  # it waits for the body
            process.send_signal(signal.SIGTERM)
            until(closed)
            raw.settimeout(0.5)
            with pytest.raises(TimeoutError):  # it still waits
                raw.recv(1)
            raw.settimeout(30)
            raw.sendall(body)
            assert raw.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert process.wait(30) == 0


@posix
def test_a_second_signal_ends_it_at_once(options: list[str]) -> None:
    """While a request waits for its body, which would never come; without a traceback."""
    with (
        started(options) as (process, port),
        socket.create_connection(("127.0.0.1", port), timeout=30) as raw,
    ):
        raw.sendall(head(1000))
        until(lambda: under_way(port) == 1)
        process.send_signal(signal.SIGINT)
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said == "answering what is under way (1); a second signal ends at once\n"

        def ended() -> bool:
            process.send_signal(signal.SIGINT)  # at once with the first it counts as that
            return process.poll() is not None

        until(ended)
        out, err = process.communicate()
    assert (out, err, process.returncode) == ("", "", 128 + signal.SIGINT)


@posix
def test_an_upload_that_stalls_is_answered_when_it_ends(options: list[str]) -> None:
    """At the end of its time, and the rest of it is read for a while: without a traceback."""
    with (
        started([*options, "--seconds", "1"]) as (process, port),
        socket.create_connection(("127.0.0.1", port), timeout=30) as raw,
    ):
        raw.sendall(head(1000) + b"--")
        until(lambda: under_way(port) == 1)
        process.send_signal(signal.SIGTERM)
        answer = b""
        while more := raw.recv(1000):
            answer += more
        out, err = process.communicate(timeout=30)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert (out.splitlines()[-1], err) == ("stopped; what was under way is answered", "")
    assert process.returncode == 0


def under_way(port: int) -> int:
    """Requests, as the server counts them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        found = re.search(r"poised_requests_under_way (\d+)", answer.read().decode())
    assert found is not None
    return int(found[1])


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
    for proxy in ("localhost", "10.0.0.1/8", "10.0.0.1;10.0.0.2", "10.0.0.1,*"):
        assert f"--proxy {proxy}: " in refused("--proxy", proxy)
    assert refused("--seconds", "0") == "Error: seconds is 0.0, must be at least 1 and finite"
    assert "two models are named dots" in refused("--port", "0", *options, *options[:2])


def test_a_model_is_named_by_its_file(options: list[str]) -> None:
    assert list(load([options[1]], options[3], 1)) == ["dots"]
