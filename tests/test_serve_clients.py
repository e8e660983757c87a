"""Clients who misbehave: endless, oversized, half-closed, slow; none keeps a place for long."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from served import EDGE, TIGHT, Served, finder, form, head, picture, served
from test_predict import dots
from waiting import until

from poised.serve.limits import Limits


@pytest.fixture(scope="module")
def tight(model: Path) -> Iterator[Served]:
    with served({"dots": finder(model)}, TIGHT) as server:
        yield server


def answer(raw: socket.socket) -> tuple[int, dict]:
    """What comes until the server closes the connection."""
    come = b""
    while part := raw.recv(1 << 16):
        come += part
    start, _, body = come.partition(b"\r\n\r\n")
    return int(start.split()[1]), json.loads(body)


def test_a_request_that_tells_its_size_is_refused_before_it_is_sent(tight: Served) -> None:
    with tight.socket() as raw:
        raw.sendall(head(40_001))
        raw.shutdown(socket.SHUT_WR)
        status, told = answer(raw)
    assert status == told["status"] == 413
    assert told["error"] == ("the request is larger than 40000 bytes; send fewer or smaller images")


def test_an_endless_upload_is_refused_at_the_limit(tight: Served) -> None:
    """Chunks without an end, of one part: 413 comes while the client still sends."""
    start = form(("image", "a.png", b"")).rpartition(f"\r\n--{EDGE}".encode())[0]
    with tight.socket() as raw:
        raw.sendall(head("") + b"%x\r\n" % len(start) + start + b"\r\n")
        over = threading.Event()

        def send() -> None:
            try:
                while not over.is_set():
                    raw.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
            except OSError:  # closed by the server, which is what it should do
                pass

        sender = threading.Thread(target=send)
        sender.start()
        try:
            come = raw.recv(1 << 16)
        finally:
            over.set()
            sender.join()
    assert come.startswith(b"HTTP/1.1 413 ")
    assert tight.api.places.taken == 0


def test_a_large_upload_is_told_why_though_it_is_still_being_sent(tight: Served) -> None:
    """The answer is there when a client sends its 2 MB all the same: the connection stands."""
    with tight.socket() as raw:
        raw.sendall(head(2_000_000))
        first = raw.recv(1, socket.MSG_PEEK)
        raw.sendall(b"x" * 2_000_000)
        status, told = answer(raw)
    assert (first, status) == (b"H", 413)
    assert "larger than 40000 bytes" in told["error"]


def test_a_half_closed_upload_leaves_nothing_behind(tight: Served) -> None:
    with tight.socket() as raw:
        raw.sendall(head(1000) + form(picture(dots()))[:200])
        until(lambda: tight.api.places.taken == 1)
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(100) == b""  # closed, without an answer to half a request
    until(lambda: tight.api.places.taken == 0)


def test_a_slow_upload_is_given_up(tight: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poised.serve.around.LINGER", 0.1)
    with tight.socket() as raw:
        raw.sendall(head(1000) + form(picture(dots()))[:200])
        status, told = answer(raw)
    assert status == 408
    assert told["error"] == "the upload took more than 1.5 s; send smaller images"
    assert tight.api.places.taken == 0


@pytest.mark.parametrize("start", [b"", b"GET /healthz HTT"])
def test_a_head_that_does_not_come_is_given_up(tight: Served, start: bytes) -> None:
    with tight.socket() as raw:
        raw.sendall(start)
        assert raw.recv(100) == b""


def test_a_second_head_that_does_not_come_is_given_up(tight: Served) -> None:
    """Its first byte ends uvicorn's own patience with an idle connection."""
    with tight.socket() as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        come = b""
        while not come.endswith(b'{"status":"ok"}'):
            come += raw.recv(1 << 16)
        raw.sendall(b"GET /")
        assert raw.recv(100) == b""


def test_what_is_no_http_is_refused_in_the_usual_form(tight: Served) -> None:
    with tight.socket() as raw:
        raw.sendall(b"nonsense\r\n\r\n")
        assert answer(raw) == (
            400,
            {"error": "Invalid HTTP request received. Send HTTP/1.1.", "status": 400},
        )


def test_an_answer_that_nobody_reads_is_given_up(model: Path) -> None:
    """A client that asks again and again and takes nothing: the buffers fill, then it is cut."""
    with served({"dots": finder(model)}, Limits(seconds=1.0, rate=0)) as server:
        with server.socket() as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with pytest.raises(OSError, match=r"reset|Broken pipe"):
                ask_for_ever(raw)
        assert server.ask("GET", "/healthz")[0] == 200


def ask_for_ever(raw: socket.socket) -> None:
    while True:
        raw.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 100)


def drip(raw: socket.socket, drop: bytes) -> bytes:
    """Send a drop whenever nothing has come for a tenth of a second; what comes at last."""
    raw.settimeout(0.1)
    for _ in range(100):
        try:
            return raw.recv(1 << 16)
        except TimeoutError:
            raw.sendall(drop)
    raise AssertionError("listened to for ten seconds")


def test_a_head_that_drips_is_given_up(tight: Served) -> None:
    """Each byte is on time; all together they are not."""
    with tight.socket() as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        with suppress(ConnectionError):  # cut amid a drop
            assert drip(raw, b"a") == b""


def test_an_upload_that_drips_is_given_up(tight: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poised.serve.around.LINGER", 0.1)
    with tight.socket() as raw:
        raw.sendall(head(1000) + form(picture(dots()))[:200])
        assert drip(raw, b"x").startswith(b"HTTP/1.1 408 ")
    assert tight.api.places.taken == 0


def test_idle_connections_keep_nobody_out(tight: Served) -> None:
    """A hundred that have begun a head; others are answered meanwhile."""
    with ExitStack() as stack:
        for _ in range(100):
            raw = stack.enter_context(tight.socket())
            raw.sendall(b"POST /v1/predict HTTP/1.1\r\n")
        assert tight.poses(picture(dots()))[0] == 200


def test_a_head_without_an_end_is_refused(tight: Served) -> None:
    """By its size, long before its time is over."""
    with tight.socket() as raw:
        raw.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nA: " + b"a" * 70_000)
        raw.shutdown(socket.SHUT_WR)
        status, told = answer(raw)
    assert (status, told["status"]) == (400, 400)


def test_a_length_beyond_all_numbers_is_refused(tight: Served) -> None:
    with tight.socket() as raw:
        raw.sendall(head("9" * 300))
        raw.shutdown(socket.SHUT_WR)
        assert raw.recv(1 << 16)[:12] in (b"HTTP/1.1 413", b"HTTP/1.1 400")


def test_more_than_the_told_length_is_no_second_request(tight: Served) -> None:
    """What follows the body is not taken for one, but for what it is: noise."""
    body = form(picture(dots()))
    with tight.socket() as raw:
        raw.sendall(head(len(body)) + body + b"x" * 100 + b"\r\n\r\n")
        come = b""
        while part := raw.recv(1 << 16):
            come += part
    assert come.startswith(b"HTTP/1.1 200 ")
    assert come.count(b"HTTP/1.1 ") == 2
    assert b"Invalid HTTP request" in come
