"""What the server refuses, and by which status, header and words; and clients who misbehave."""

from __future__ import annotations

import gc
import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

for needed in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
    pytest.importorskip(needed, reason="needs poised[serve]")
from models import colour_model
from PIL import Image
from served import EDGE, TYPE, Served, form, head, picture, served, until
from test_predict import dots

from poised import Predictor
from poised.serve.limits import CLIENTS, Limits, Rates, Refused
from poised.serve.lines import Line

TIGHT = Limits(bytes=40_000, pixels=160 * 200, images=3, queue=2, seconds=1.5, rate=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return colour_model(tmp_path_factory.mktemp("model") / "dots.onnx")


def finder(model: Path) -> Predictor:
    return Predictor.load(model, detector=None, flip=False, threads=1)


@pytest.fixture(scope="module")
def tight(model: Path) -> Iterator[Served]:
    with served({"dots": finder(model)}, TIGHT) as server:
        yield server


@pytest.fixture
def stuck(tight: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Its line takes nothing more, until what this gives is called, or the test ends."""
    free, take = threading.Event(), Line._take

    def late(self: Line, jobs: list) -> None:
        assert free.wait(30)
        take(self, jobs)

    monkeypatch.setattr(Line, "_take", late)
    yield free.set
    free.set()
    until(lambda: tight.api.lines["dots"].waiting.empty())


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


def bomb(width: int, height: int) -> bytes:
    """A PNG of a kilobyte that says it is so large: the size stands in its head."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "PNG")
    png = bytearray(file.getvalue())
    png[16:24] = struct.pack(">II", width, height)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    return bytes(png)


@pytest.mark.parametrize("size", [(161, 200), (30_000, 30_000), (2**31 - 1, 2**31 - 1)])
def test_a_bomb_is_refused_by_its_head(
    tight: Served, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One pixel's column over the limit, or 10^18 pixels over it: nothing is decoded."""
    part = ("image", "bomb.png", bomb(*size))
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("decoded"))
    status, error = tight.refused(part)
    assert status == 413
    assert error.startswith("bomb.png: ")
    assert "the limit of 32000 pixels" in error


def test_formats_for_which_pillow_starts_programs_are_refused(tight: Served) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
    status, error = tight.refused(("image", "a.eps", eps))
    assert status == 422
    assert error.startswith("a.eps: EPS, expected one of AVIF, BMP, GIF")


def test_more_images_than_allowed(tight: Served) -> None:
    assert tight.poses(*[picture(dots())] * 3)[0] == 200
    status, error = tight.refused(*[picture(dots())] * 4)
    assert (status, error) == (413, "more than 3 images in one request; send several")


def test_a_full_server_says_when_to_come_again(tight: Served, stuck: Callable[[], None]) -> None:
    """Two places: two wait, the third is refused before its body is read, and has room later."""
    answers: list[int] = []
    clients = [
        threading.Thread(target=lambda: answers.append(tight.poses(picture(dots()))[0]))
        for _ in range(2)
    ]
    for client in clients:
        client.start()
    until(lambda: tight.api.places.taken == 2)
    status, headers, told = tight.poses(picture(dots()))
    assert (status, headers["retry-after"]) == (503, "1")
    assert told["error"] == "2 requests are under way, as many as are allowed; try again in 1 s"
    assert tight.ask("GET", "/healthz")[0] == 200  # it is well all the same
    stuck()
    for client in clients:
        client.join()
    assert answers == [200, 200]
    assert tight.poses(picture(dots()))[0] == 200


def test_what_takes_too_long_is_given_up(
    tight: Served, stuck: Callable[[], None], caplog: pytest.LogCaptureFixture
) -> None:
    status, error = tight.refused(picture(dots()), picture(dots()))
    gc.collect()
    assert "never retrieved" not in caplog.text  # by asyncio, of futures that were left lying
    assert status == 504
    assert error.startswith("not done within 1.5 s, given up")
    assert tight.api.places.taken == 0


def test_what_a_client_gave_up_is_not_estimated(
    tight: Served, stuck: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tight.api, "limits", replace(TIGHT, seconds=100))
    counted = tight.api.metrics.dropped.labels("dots")
    before = counted._value.get()
    body = form(picture(dots()))
    with tight.socket() as raw:
        raw.sendall(head(len(body)) + body)
        until(lambda: tight.api.places.taken == 1)
        line = tight.api.lines["dots"]
        until(lambda: line.thread.is_alive() and line.waiting.empty())
    until(lambda: tight.api.places.taken == 0)  # not only after its seconds
    stuck()
    until(lambda: counted._value.get() == before + 1)


def test_a_clients_rate(model: Path) -> None:
    """0.5 a second: the first at once, the next only 2 s later."""
    with served({"dots": finder(model)}, Limits(rate=0.5)) as server:
        assert server.poses(picture(dots()))[0] == 200
        status, headers, told = server.poses(picture(dots()))
    assert (status, headers["retry-after"]) == (429, "2")
    assert told["error"].startswith("more than 0.5 requests a second from 127.0.0.1; wait 2 s")


def test_rates_by_the_clock() -> None:
    """10 a second, 20 at once: the 21st waits a tenth of a second, rounded up; others do not."""
    clock = [0.0]
    rates = Rates(10, now=lambda: clock[0])
    for _ in range(20):
        rates.take("10.0.0.1")
    with pytest.raises(Refused, match="wait 1 s"):
        rates.take("10.0.0.1")
    rates.take("10.0.0.2")
    clock[0] = 0.1
    rates.take("10.0.0.1")
    with pytest.raises(Refused):
        rates.take("10.0.0.1")


def test_a_client_cannot_take_another_of_its_own_addresses() -> None:
    rates = Rates(0.5, now=lambda: 0.0)
    rates.take("2001:db8:1:2::1")
    with pytest.raises(Refused, match="2001:db8:1:2::/64"):
        rates.take("2001:db8:1:2:ffff::9%eth0")
    rates.take("2001:db8:1:3::1")


def test_clients_beyond_number_are_forgotten_in_their_order() -> None:
    rates = Rates(1, now=lambda: 0.0)
    for number in range(CLIENTS + 10):
        rates.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(rates.left) == CLIENTS
    assert "10.0.0.9" not in rates.left
    assert "10.0.0.10" in rates.left


@pytest.mark.parametrize(("proxy", "status"), [(None, 429), ("127.0.0.1", 200), ("10.0.0.9", 429)])
def test_whose_word_for_an_address_is_believed(model: Path, proxy: str | None, status: int) -> None:
    """Each request says that it comes from elsewhere; it counts where its sender is the proxy."""
    with served({"dots": finder(model)}, Limits(rate=0.5), proxy=proxy) as server:
        body = form(picture(dots()))
        told = [
            server.ask(
                "POST", "/v1/predict", body, Content_Type=TYPE, X_Forwarded_For=f"10.1.1.{n}"
            )
            for n in range(2)
        ]
    assert [one[0] for one in told] == [200, status]


@pytest.mark.parametrize("name", ["bytes", "pixels", "images", "queue", "seconds", "rate"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_limits_must_be_limits(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}, must be at least"):
        Limits(**{name: value})


def test_what_is_under_way_is_answered_when_the_server_ends(
    tight: Served, stuck: Callable[[], None], model: Path
) -> None:
    """The signal comes while a request waits: it is answered, and only then all ends."""
    told: list[int] = []
    with served({"dots": finder(model)}) as server:
        client = threading.Thread(target=lambda: told.append(server.poses(picture(dots()))[0]))
        client.start()
        until(lambda: server.api.places.taken == 1)
        threading.Timer(0.5, stuck).start()
    client.join()
    assert told == [200]
    with pytest.raises(ConnectionRefusedError):
        server.ask("GET", "/healthz")


def test_images_that_cannot_be_decoded_are_the_clients_fault(tight: Served) -> None:
    """A good head and noise after it: an error that names the file, nothing worse."""
    noise = np.random.default_rng(0).bytes(300)
    status, error = tight.refused(("image", "n.png", bomb(100, 100)[:60] + noise))
    assert status == 422
    assert error.startswith("n.png: damaged or cut short")
