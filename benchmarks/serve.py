"""Does a server under 200 clients at once lose or mix up anything, how fast, in how much memory?

python benchmarks/serve.py [SECONDS [CLIENTS]]    # 60 and 200; on loopback, with coco17-small

Each client has a picture of its own, cut out of data/samples, and sends it again as soon as it has
its answer, which must be that of `Predictor.predict` for its picture, by name and by the keypoints.
At half time the server is killed by SIGKILL and started again; a client whose connection breaks, or
who gets 503 or 504, tries again. waited: from the first try to the answer, seconds. lost: requests
without an answer in the end. mixed up: with another one's. MB: the server's resident memory when it
has loaded, at its peak, and at the end; the first is the server that was killed. Exit code 1 where
anything was lost or mixed up.
"""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import machine
from PIL import Image

from poised import Predictor
from poised.serve.answers import image_answer

MODEL = "coco17-small"
SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
EDGE = "edge-of-a-part"
SIDE = 240  # pixels of a client's picture
NEAR = 0.1  # pixels; who shares a network call changes the last digits
AGAIN, PATIENCE = 0.5, 180  # seconds to wait before another try, and for the last answers


def pictures(count: int) -> list[bytes]:
    """JPEGs of people, no two alike."""
    whole = [Image.open(path).convert("RGB") for path in sorted(SAMPLES.glob("*.[jp][pn]g"))]
    rng = np.random.default_rng(0)
    made = []
    for number in range(count):
        image = whole[number % len(whole)]
        left, top = rng.integers(0, (image.width // 4, image.height // 8))
        part = image.crop((int(left), int(top), image.width - 40, image.height))
        part.thumbnail((SIDE, SIDE))
        file = io.BytesIO()
        part.save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


class Server:
    """A `poised serve` in a process of its own."""

    def __init__(self, port: int) -> None:
        options = ["--port", str(port), "--model", MODEL]
        options += ["--rate", "0", "--queue", "256", "--seconds", "120"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "poised", "serve", *options], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        print(self.process.stdout.readline().strip(), file=sys.stderr)
        self.before = self.megabytes("VmRSS")

    def megabytes(self, what: str) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return round(next(int(x.split()[1]) for x in lines if x.startswith(what)) / 1024)

    def memory(self) -> list[float]:
        return [self.before, self.megabytes("VmHWM"), self.megabytes("VmRSS")]


class Clients:
    """All of them, and what became of their requests."""

    def __init__(self, port: int, images: list[bytes], wanted: list[dict[str, Any]]) -> None:
        self.port, self.images, self.wanted = port, images, wanted
        self.waited: list[float] = []
        self.at: list[float] = []
        self.lost = self.mixed_up = self.broken = self.refused = 0

    async def run(self, number: int, until: float) -> None:
        while time.monotonic() < until:
            begun = time.monotonic()
            answer = await self._insist(number, until + PATIENCE)
            if answer is None:
                self.lost += 1
                continue
            self.waited.append(time.monotonic() - begun)
            self.at.append(time.monotonic())
            self.mixed_up += not same(answer["images"][0], self.wanted[number])

    async def _insist(self, number: int, until: float) -> dict[str, Any] | None:
        while time.monotonic() < until:
            try:
                status, answer = await self._ask(number)
            except (OSError, asyncio.IncompleteReadError):
                self.broken += 1
            else:
                if status == 200:
                    return answer
                if status not in (503, 504):
                    raise SystemExit(f"{status}: {answer}")
                self.refused += 1
            await asyncio.sleep(AGAIN)
        return None

    async def _ask(self, number: int) -> tuple[int, dict[str, Any]]:
        body = (
            f'--{EDGE}\r\nContent-Disposition: form-data; name="image"; filename="{number}.jpg"'
            "\r\n\r\n"
        ).encode() + self.images[number]
        body += f"\r\n--{EDGE}--\r\n".encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(
                f"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n"
                f"Content-Type: multipart/form-data; boundary={EDGE}\r\n\r\n".encode()
                + body
            )
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(head.partition("content-length:")[2].split()[0])
            return int(head.split()[1]), json.loads(await reader.readexactly(length))
        finally:
            writer.close()


def same(got: dict[str, Any], want: dict[str, Any]) -> bool:
    """Whether an answer is of the picture that was sent."""
    if got["file_name"] != want["file_name"] or len(got["people"]) != len(want["people"]):
        return False
    pairs = zip(got["people"], want["people"], strict=True)
    return all(np.allclose(a["keypoints"], b["keypoints"], atol=NEAR) for a, b in pairs)


async def load(clients: Clients, first: Server, port: int, seconds: float) -> Server:
    """All clients for so long; the server that stands at the end."""
    until = time.monotonic() + seconds
    tasks = [asyncio.create_task(clients.run(n, until)) for n in range(len(clients.images))]
    await asyncio.sleep(seconds / 2)
    print(json.dumps({"MB of the first: loaded, peak, last": first.memory()}), flush=True)
    first.process.kill()
    first.process.wait()
    second = await asyncio.to_thread(Server, port)
    await asyncio.gather(*tasks)
    return second


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 200
    print(json.dumps(machine()))
    images = pictures(count)
    predictor = Predictor.load(MODEL)
    wanted = [image_answer(f"{n}.jpg", predictor.predict(one)) for n, one in enumerate(images)]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    clients = Clients(port, images, wanted)
    first = Server(port)
    begun = time.monotonic()
    second = asyncio.run(load(clients, first, port, seconds))
    done = sum(at < begun + seconds for at in clients.at)
    memory = second.memory()
    second.process.send_signal(signal.SIGTERM)
    row = {
        "people a picture": round(sum(len(one["people"]) for one in wanted) / count, 2),
        "answers": len(clients.waited),
        "a second": round(done / seconds, 1),
        "waited p50": round(float(np.percentile(clients.waited, 50)), 2),
        "waited p99": round(float(np.percentile(clients.waited, 99)), 2),
        "lost": clients.lost,
        "mixed up": clients.mixed_up,
        "broken connections": clients.broken,
        "refused": clients.refused,
        "MB of the second: loaded, peak, last": memory,
        "exit code after SIGTERM": second.process.wait(),
    }
    print(json.dumps(row))
    if clients.lost or clients.mixed_up or not clients.waited or row["exit code after SIGTERM"]:
        sys.exit(1)


if __name__ == "__main__":
    main()
