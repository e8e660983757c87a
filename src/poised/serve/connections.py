"""HTTP connections that give up clients who keep them waiting; the rest is uvicorn's."""

from __future__ import annotations

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from poised.reading import json_text


class Connection(H11Protocol):  # type: ignore[misc]
    """A connection on which a client has `patience` seconds to send a request's head, and as many
    to take what is written to it. (The body has its time in app.py.)
    """

    patience = 30.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.waits: dict[str, asyncio.TimerHandle] = {}
        super().connection_made(transport)
        self._wait("head")

    def connection_lost(self, exc: Exception | None) -> None:
        for what in ("head", "reading"):
            self._heard(what)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._heard("head")
        else:
            self._wait("head")

    def pause_writing(self) -> None:
        self._wait("reading")
        super().pause_writing()

    def resume_writing(self) -> None:
        self._heard("reading")
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._wait("reading")  # what is left of the last answer

    def send_400_response(self, msg: str) -> None:
        """In the form of the API's errors."""
        told = {"error": f"{msg} Send HTTP/1.1.", "status": 400}
        body = json_text(told).encode()
        headers = [("content-type", "application/json"), ("connection", "close")]
        headers.append(("content-length", str(len(body))))
        events: list[Any] = [h11.Response(status_code=400, headers=headers, reason=b"Bad Request")]
        for event in [*events, h11.Data(data=body), h11.EndOfMessage()]:
            self.transport.write(self.conn.send(event))
        self.transport.close()

    def _wait(self, what: str) -> None:
        """From now on, unless that is waited for already."""
        if what not in self.waits:
            self.waits[what] = self.loop.call_later(self.patience, self.transport.abort)

    def _heard(self, what: str) -> None:
        timer = self.waits.pop(what, None)
        if timer is not None:
            timer.cancel()


def patient(seconds: float) -> type[Connection]:
    """Connections of so much patience, as uvicorn wants them: a class."""
    return type("Patient", (Connection,), {"patience": seconds})
