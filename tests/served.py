"""A server in a thread of this process, and requests to it, byte by byte where need be.

Skips who imports it where `poised[serve]` is not installed.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

for needed in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
    pytest.importorskip(needed, reason="needs poised[serve]")

from poised.predict import Predictor
from poised.serve.limits import Limits
from poised.serve.run import Api, bind, opened, run

EDGE = "edge-of-a-part"
TYPE = f"multipart/form-data; boundary={EDGE}"
FREE = Limits(rate=0)
TIGHT = Limits(bytes=40_000, pixels=160 * 200, images=3, queue=2, seconds=1.5, rate=0)
Part = tuple[str, str | None, bytes]  # field, file name, content


def finder(model: Path) -> Predictor:
    """Of coloured dots, one "person" an image."""
    return Predictor.load(model, detector=None, flip=False, threads=1)


class Served:
    """Where a server listens, what it shares, and its answers."""

    def __init__(self, api: Api, port: int) -> None:
        self.api, self.port = api, port

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers by small letters, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                method, path, body, {k.replace("_", "-"): v for k, v in headers.items()}
            )
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def poses(self, *parts: Part) -> tuple[int, dict[str, str], Any]:
        """POST /v1/predict of a form; the answer's JSON."""
        status, headers, body = self.ask("POST", "/v1/predict", form(*parts), Content_Type=TYPE)
        return status, headers, json.loads(body)

    def refused(self, *parts: Part) -> tuple[int, str]:
        """Likewise, of what is an error, in the one form that all have."""
        status, _, answer = self.poses(*parts)
        assert set(answer) == {"error", "status"}
        assert answer["status"] == status
        return status, answer["error"]

    @contextmanager
    def socket(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as raw:
            yield raw


def form(*parts: Part) -> bytes:
    """A body of TYPE."""
    body = b""
    for field, name, content in parts:
        about = f'form-data; name="{field}"' + ("" if name is None else f'; filename="{name}"')
        body += f"--{EDGE}\r\nContent-Disposition: {about}\r\n\r\n".encode() + content + b"\r\n"
    return body + f"--{EDGE}--\r\n".encode()


def picture(pixels: np.ndarray, name: str = "a.png") -> Part:
    """A field with an image."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return "image", name, file.getvalue()


def head(length: int | str, path: str = "/v1/predict") -> bytes:
    """A request's head with that Content-Length, or else chunked."""
    size = f"Content-Length: {length}" if length != "" else "Transfer-Encoding: chunked"
    return f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {TYPE}\r\n{size}\r\n\r\n".encode()


@contextmanager
def served(
    predictors: dict[str, Predictor], limits: Limits = FREE, **options: Any
) -> Iterator[Served]:
    """Until the block ends."""
    over = threading.Event()
    with opened(predictors, limits) as api, bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]

        def stopped() -> int | None:
            return 15 if over.is_set() else None

        thread = threading.Thread(target=run, args=(api, listening, stopped), kwargs=options)
        thread.start()
        try:
            yield Served(api, port)
        finally:
            over.set()
            thread.join()
