"""A request's body, multipart/form-data, read into memory within the limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from poised.serve.limits import Limits, Refused

FORM = "multipart/form-data"
FIELDS = ("image", "model", "heatmaps")
WORD = 1000  # bytes of a field that is no file
NAME = 255  # characters of a file's name that are kept


@dataclass
class Asked:
    """What a client sent. images: (file name, bytes), as they came; the names are text alone."""

    images: list[tuple[str, bytes]] = field(default_factory=list)
    model: str | None = None
    heatmaps: bool = False


async def read_upload(request: Request, limits: Limits) -> Asked:
    """The form that a request holds; raises Refused as soon as it is too large, or is none."""
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != FORM.encode():
        raise Refused(415, f"the body is {kind.decode('latin-1') or 'of no type'}; send {FORM}")
    if not options.get(b"boundary"):
        raise Refused(400, f"Content-Type: {FORM} without a boundary; let the HTTP library set it")
    form = _Form(limits)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks())
        async for part in bounded(request, limits.bytes):
            parser.write(part)
        parser.finalize()
    except FormParserError as error:
        raise Refused(400, f"the body is not {FORM}: {error}") from error
    if not form.ended:
        raise Refused(400, "the body was cut short: its last boundary is missing")
    if not form.asked.images:
        raise Refused(422, "image: none was sent; send one file or several in fields of that name")
    return form.asked


async def bounded(request: Request, most: int) -> AsyncIterator[bytes]:
    """A body's bytes as they come; Refused by the length it tells, or once it is longer."""
    told = request.headers.get("content-length", "")
    come = int(told) if told.isdecimal() else 0
    large = f"the request is larger than {most} bytes; send fewer or smaller images"
    if come > most:
        raise Refused(413, large)
    come = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise gone()
        part: bytes = message.get("body", b"")
        come, more = come + len(part), message.get("more_body", False)
        if come > most:
            raise Refused(413, large)
        yield part


def gone() -> Refused:
    """The client left: nobody reads this, but the metrics count it."""
    return Refused(499, "the client closed the connection before it was answered")


class _Form:
    """Gathers what the parser finds, which calls back bit by bit."""

    def __init__(self, limits: Limits) -> None:
        self.asked, self.most = Asked(), limits.images
        self.header, self.value, self.body = bytearray(), bytearray(), bytearray()
        self.name: str = ""
        self.file_name: str | None = None
        self.said: set[str] = set()
        self.ended = False

    def callbacks(self) -> dict[str, object]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self.header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self.value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_headers_finished": self._check,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._last,
        }

    def _begin(self) -> None:
        self.name, self.file_name, self.body = "", None, bytearray()

    def _header(self) -> None:
        if self.header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self.value))
            self.name = _text(options.get(b"name", b""))
            self.file_name = _text(options[b"filename"]) if b"filename" in options else None
        self.header.clear()
        self.value.clear()

    def _check(self) -> None:
        name = self.name[:NAME]
        if name not in FIELDS:
            raise Refused(422, f"no field is named {name!r}; known: {', '.join(FIELDS)}")
        if name in self.said:
            raise Refused(422, f"{name}: sent twice; send it once")
        if name == "image" and self.file_name is None:
            raise Refused(422, "image: text, expected a file; send it with a file name")
        if name == "image" and len(self.asked.images) >= self.most:
            raise Refused(413, f"more than {self.most} images in one request; send several")

        if name != "image":
            self.said.add(name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.body += data[start:end]
        if self.name != "image" and len(self.body) > WORD:
            raise Refused(422, f"{self.name}: longer than {WORD} bytes")

    def _end(self) -> None:
        if self.name == "image":
            number = len(self.asked.images) + 1
            name = self.file_name or f"image {number}"
            self.asked.images.append((name, bytes(self.body)))
            self.body = bytearray()
            return
        word = _text(bytes(self.body))
        if self.name == "model":
            self.asked.model = word
        elif word.lower() in ("true", "false", ""):
            self.asked.heatmaps = word.lower() == "true"
        else:
            raise Refused(422, f"heatmaps is {word!r}; expected true or false")

    def _last(self) -> None:
        self.ended = True


def _text(raw: bytes) -> str:
    """What a client calls something: at most NAME characters, none of which does anything."""
    return "".join(c for c in raw.decode("utf-8", "replace")[:NAME] if c.isprintable())
