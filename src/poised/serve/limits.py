"""How much a client may ask of the server, and how it is told that this was too much."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields

BURST = 2.0  # seconds' worth of requests that a client may make at once
CLIENTS = 10_000  # whose rates are remembered; of more, who was not heard of longest is forgotten
NETWORK = 64  # bits of an IPv6 address that one client shares: the rest are theirs to choose
AGAIN = 1  # seconds after which it is worth to ask a full server again


@dataclass(frozen=True)
class Limits:
    """bytes:   of a request, all of its images together; they are kept in memory, not on disk.
    pixels:  of an image, by its head, before it is decoded.
    images:  of a request.
    queue:   requests under way and waiting, of all clients; so queue x bytes is all that is kept.
    seconds: from a request's head to its answer; also until a head is whole, and for which a
             client may leave its answer unread.
    rate:    requests a second of one client's address, 0 for any number.
    """

    bytes: int = 20_000_000
    pixels: int = 25_000_000
    images: int = 16
    queue: int = 64
    seconds: float = 30.0
    rate: float = 20.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name == "rate" else 1
            if not least <= value < math.inf:  # NaN too
                raise ValueError(f"{field.name} is {value}, must be at least {least} and finite")


class Refused(Exception):
    """A request that gets an error for its answer; the message says what to do."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, dict(headers or {})


class Rates:
    """Requests of each client: `rate` a second, BURST seconds' worth at once."""

    def __init__(self, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.now = rate, now
        self.most = max(1.0, rate * BURST)
        self.left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # how many, and when

    def take(self, address: str) -> None:
        """Count a request of that address; Refused says when the next one may come."""
        if not self.rate:
            return
        client, now = _network(address), self.now()
        left, before = self.left.pop(client, (self.most, now))
        left = min(self.most, left + (now - before) * self.rate)
        self.left[client] = (left - 1 if left >= 1 else left, now)
        if len(self.left) > CLIENTS:
            self.left.popitem(last=False)
        if left < 1:
            wait = math.ceil((1 - left) / self.rate)
            raise Refused(
                429,
                f"more than {self.rate:g} requests a second from {client}; "
                f"wait {wait} s, or put several images into one request",
                {"Retry-After": str(wait)},
            )


def _network(address: str) -> str:
    """Whom an address stands for: an IPv4 address itself, an IPv6 one its network."""
    try:
        known = ipaddress.ip_address(address)
    except ValueError:  # a socket's path, or a test's client
        return address
    if known.version == 4:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], NETWORK), strict=False))


class Places:
    """Requests that the server may have under way; used by the event loop's thread alone."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Held within the block; Refused where all are taken."""
        if self.taken >= self.count:
            raise Refused(
                503,
                f"{self.count} requests are under way, as many as are allowed; "
                f"try again in {AGAIN} s",
                {"Retry-After": str(AGAIN)},
            )
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
