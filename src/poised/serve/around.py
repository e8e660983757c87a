"""What goes around every answer: headers for browsers, and an ear for bodies nobody wanted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from poised.serve.metrics import Metrics

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

LINGER = 2.0  # seconds
POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' 'wasm-unsafe-eval'",  # networks in the browser
        "img-src 'self' blob: data:",
        "media-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Around:
    """An ASGI application within another, which sees HEAD as GET: the server sends no body then.

    Where an answer comes before the request's body has been read (it is too large, or the server
    full), the body is read on and dropped for LINGER seconds. Closing at once would reset the
    connection, and a client that is still sending would never see why.
    """

    def __init__(self, app: Asgi, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = {name.lower() for name, value in scope["headers"] if value != b"0"}
        unread = bool({b"content-length", b"transfer-encoding"} & sent)
        begun = time.monotonic()

        async def reading() -> Message:
            nonlocal unread
            message = await receive()
            unread = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def drop() -> None:
            while unread:
                await reading()

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.metrics.answered(scope["path"], message["status"], time.monotonic() - begun)
                message["headers"] = [*message.get("headers", []), *_encoded(HEADERS)]
                if unread:
                    message["headers"].append((b"connection", b"close"))
            elif unread and not message.get("more_body"):
                await send({**message, "more_body": True})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(drop(), LINGER)
                message = {"type": "http.response.body", "body": b""}
            await send(message)

        seen = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope
        await self.app(seen, reading, sending)


def _encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]
