"""What the server refuses, and by which status, header and words."""

from __future__ import annotations

import gc
import io
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import TIGHT, TYPE, Served, finder, form, head, picture, served
from test_predict import dots
from waiting import until

from poised.serve.limits import CLIENTS, Limits, Rates, Refused
from poised.serve.lines import Job, Line


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
    body, line, come = form(picture(dots())), tight.api.lines["dots"], threading.Event()

    def put(job: Job) -> None:
        Line.put(line, job)
        come.set()

    monkeypatch.setattr(line, "put", put)
    with tight.socket() as raw:
        raw.sendall(head(len(body)) + body)
        assert come.wait(30)
        until(line.waiting.empty)
        before = counted._value.get()  # now that the test before has its own counted
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


@pytest.mark.parametrize(
    ("proxy", "status"),
    [(None, 429), ("127.0.0.1", 200), ("10.0.0.9", 429), ("10.0.0.9, 127.0.0.0/8", 200)],
)
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
