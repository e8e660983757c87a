"""A server of the page whose poses are made up: the form of the API, without a model."""

from __future__ import annotations

import base64
import email
import email.policy
import io
import json
from email.message import EmailMessage
from typing import Any

import numpy as np
from browser import Browser, Quiet
from PIL import Image

from poised.serve.static_site import page_folder
from poised.types import Skeleton

SKELETON = Skeleton.load("coco17")
SIZE = WIDTH, HEIGHT = (320, 240)
K = len(SKELETON)
MODELS = [
    {
        "name": name,
        "description": f"{name}, made up",
        "input": [192, 256],
        "megabytes": 13.8,
        "threshold": 0.5,
        "skeleton": {
            "name": "coco17",
            "keypoints": list(SKELETON.keypoints),
            "limbs": [list(limb) for limb in SKELETON.limbs],
            "pairs": [list(pair) for pair in SKELETON.pairs],
        },
    }
    for name in ("one", "two")
]
PEOPLE = [  # a tall one at the left, whose nose is sure; a small one, all of whose joints are less
    {
        "bbox": [20.0 + 150 * i, 20.0, 120.0 - 60 * i, 200.0 - 100 * i],
        "box_score": 0.91 - 0.2 * i,
        "score": 0.81234567 - 0.2 * i,
        "keypoints": [
            [30.0 + 150 * i + 6 * k, 30.0 + 10 * k / (1 + i), 0.95 if k == 0 else 0.8 - 0.2 * i]
            for k in range(K)
        ],
    }
    for i in range(2)
]


def picture(size: tuple[int, int] = SIZE) -> bytes:
    """A grey PNG."""
    file = io.BytesIO()
    Image.new("RGB", size, (90, 90, 90)).save(file, "PNG")
    return file.getvalue()


def heatmaps() -> dict[str, Any]:
    """Maps of 10 x 8 cells of 10 pixels from (100, 60): the nose in the first cell, no more."""
    grey = np.zeros((K * 8, 10), np.uint8)
    grey[0, 0] = 255
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "PNG")
    png = base64.b64encode(file.getvalue()).decode()
    places = {"to_image": [[10, 0, 100], [0, 10, 60]], "png": png}
    return {"joints": K, "width": 10, "height": 8, **places}


class Stub(Quiet):
    """GET / and /static/..., GET /v1/models, POST /v1/predict; "bad..." gets an error."""

    def translate_path(self, path: str) -> str:
        name = path.split("?")[0].removeprefix("/static").lstrip("/")
        return str(page_folder() / (name or "index.html"))

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self.answer(200, {"models": MODELS, "default": "one"})
        else:
            super().do_GET()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
        assert isinstance(message, EmailMessage)
        parts = {
            part.get_param("name", header="content-disposition"): part
            for part in message.iter_parts()
        }
        name = str(parts["image"].get_filename())
        model = parts["model"].get_content().strip()
        if name.startswith("bad"):
            self.answer(422, {"error": f"{name}: damaged or cut short", "status": 422})
            return
        if name.startswith("full"):
            self.answer(503, {"error": "the queue is full", "status": 503}, {"Retry-After": "3"})
            return
        more = {"heatmaps": heatmaps()} if "heatmaps" in parts else {}
        people = [person | more for person in PEOPLE[: 2 if model == "one" else 1]]
        image = {"file_name": name, "width": WIDTH, "height": HEIGHT, "people": people}
        self.answer(200, {"model": model, "seconds": 0.12, "images": [image]})

    def answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        kind = {"Content-Type": "application/json", "Content-Length": str(len(data))}
        for name, value in {**kind, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def show(page: Browser, *names: str, way: str = "drop") -> None:
    """Give the page pictures of these names and wait for the last one's people."""
    page.bring(*((name, "image/png", picture()) for name in names), way=way)
    last = names[-1]
    page.until(lambda: page.text("#status").startswith(f"{last}: 2 people"), f"poses in {last}")
