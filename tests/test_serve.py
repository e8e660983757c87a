"""The server's answers: the same people as in Python, each client its own; errors in one form."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from models import fussy_model
from pages import pages
from PIL import Image
from served import Served, finder, form, picture, served
from test_predict import TRUTH, dots
from waiting import until

from poised import Predictor
from poised.images import read_image
from poised.serve.answers import heatmap_answers, image_answer
from poised.serve.lines import Job
from poised.serve.run import load

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
MESSI = SAMPLES / "messi5.jpg"
BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "serve.py"


@pytest.fixture(scope="module")
def dotted(model: Path) -> Iterator[Served]:
    with served({"dots": finder(model), "twin": finder(model)}) as server:
        yield server


def test_the_people_are_those_of_the_predictor() -> None:
    """Of a real model, found by the detector; two files in one request keep their order."""
    predictor = Predictor.load("coco17-small", threads=1)
    files = [SAMPLES / "basketball1.png", MESSI]
    with served({"coco17-small": predictor}) as server:
        status, _, answer = server.poses(*(("image", f.name, f.read_bytes()) for f in files))
    assert (status, answer["model"]) == (200, "coco17-small")
    assert 0 < answer["seconds"] < 60
    for file, image in zip(files, answer["images"], strict=True):
        want = image_answer(file.name, predictor.predict(file))
        assert image["file_name"] == file.name
        assert (image["width"], image["height"]) == read_image(file).shape[1::-1]
        assert len(image["people"]) == len(want["people"]) > 0
        for got, told in zip(image["people"], want["people"], strict=True):
            np.testing.assert_allclose(got["keypoints"], told["keypoints"], atol=0.02)
            np.testing.assert_allclose(got["bbox"], told["bbox"], atol=0.02)
            assert got["box_score"] == pytest.approx(told["box_score"], abs=2e-4)
            assert got["score"] == pytest.approx(told["score"], abs=2e-4)


ASKED = "it asks a server; tests/test_serve.py does that"


def test_what_the_documents_ask_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's and docs/serve.md's own lines, by curl and in Python, at this server's port."""
    monkeypatch.chdir(tmp_path)
    for name in ("photo.jpg", "a.jpg", "b.png"):
        shutil.copyfile(MESSI, name)
    asked = [b for page in ("README.md", "docs/serve.md") for b in pages()[page]]
    lines = [block for block in asked if block.reason == ASKED]
    assert [block.language for block in lines] == ["sh", "sh", "python"]
    names: dict[str, Any] = {}
    answers = []
    with served({"coco17": Predictor.load("coco17-small", threads=1)}) as server:
        for block in lines:
            text = block.text.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")
            if block.language == "python":
                exec(compile(text, "docs/serve.md", "exec"), names)
                answers.append(names["poses"]("photo.jpg"))
            elif shutil.which("curl"):
                done = subprocess.run(["sh", "-ec", text], capture_output=True, check=True)
                answers.append(json.loads(done.stdout))
    seen = [[image["file_name"] for image in answer["images"]] for answer in answers]
    assert seen[-1] == ["photo.jpg"]
    assert seen[:-1] in ([], [["photo.jpg"], ["a.jpg", "b.png"]])
    assert all(image["people"] for answer in answers for image in answer["images"])


def test_many_clients_at_once_lose_nothing() -> None:
    """The benchmark's 200 for 60 s, here a few for a moment: killed by SIGKILL at half time."""
    command = [sys.executable, str(BENCHMARK), "4", "12"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads(done.stdout.splitlines()[-1])
    assert (row["lost"], row["mixed up"], row["exit code after SIGTERM"]) == (0, 0, 0)
    assert row["answers"] >= 12


def test_an_image_is_turned_upright(dotted: Served) -> None:
    """A picture stored lying down, with EXIF's word for it, gives the dots of the upright one."""
    stored, file = Image.fromarray(dots()).rotate(90, expand=True), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise
    stored.save(file, "PNG", exif=exif)
    _, _, answer = dotted.poses(("image", "a.png", file.getvalue()))
    image = answer["images"][0]
    assert (image["width"], image["height"]) == (160, 200)
    np.testing.assert_allclose(np.array(image["people"][0]["keypoints"])[:, :2], TRUTH, atol=0.5)


def test_heatmaps_come_where_they_are_asked_for(dotted: Served) -> None:
    """The brightest cell of each map, through to_image, is where the dot was drawn: within half a
    cell of about 8.3 pixels."""
    asked = [picture(dots()), ("heatmaps", None, b"true")]
    maps = dotted.poses(*asked)[2]["images"][0]["people"][0]["heatmaps"]
    assert (maps["joints"], maps["width"], maps["height"]) == (3, 24, 32)
    grey = cv2.imdecode(
        np.frombuffer(base64.b64decode(maps["png"]), np.uint8), cv2.IMREAD_UNCHANGED
    )
    assert grey.shape == (3 * 32, 24)
    each = grey.reshape(3, 32, 24)
    assert each.max(axis=(1, 2)).tolist() == [255] * 3
    to_image = np.array(maps["to_image"])
    for one, (x, y) in zip(each, TRUTH, strict=True):
        row, column = np.unravel_index(one.argmax(), one.shape)
        cell = to_image @ [column, row, 1]
        np.testing.assert_allclose(cell, [x, y], atol=to_image[0, 0] / 2 + 0.5)
    assert "heatmaps" not in dotted.poses(picture(dots()))[2]["images"][0]["people"][0]


def test_heatmaps_of_many_people_are_each_ones_own(model: Path) -> None:
    """Three people, two a network call: as of each alone."""
    predictor = Predictor.load(model, detector=None, flip=False, threads=1, batch=2)
    boxes = np.array([[40, 50, 75, 90], [30, 40, 60, 90], [0, 0, 160, 200]], np.float32)
    found = predictor.people("a", dots())
    three = found.poses.take(np.zeros(3, int))
    three.boxes.xywh.flags.writeable = True
    three.boxes.xywh[:] = boxes
    together = heatmap_answers(predictor, type(found)(found.image, three))
    alone = [
        heatmap_answers(predictor, type(found)(found.image, three.take([i]))) for i in range(3)
    ]
    assert together == [one for (one,) in alone]
    assert len({one["png"] for one in together}) == 3


def test_people_of_two_requests_share_a_network_call(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the line is busy with a first request, two more come: then the network runs once for
    both, and each gets its own dots."""
    predictor, sizes = finder(model), []
    session, free, busy = predictor.estimator.session, threading.Event(), threading.Event()
    run = type(session).run

    def counted(self: object, images: np.ndarray) -> dict[str, np.ndarray]:
        sizes.append(len(images))
        busy.set()
        assert free.wait(30)
        return run(session, images)

    monkeypatch.setattr(type(session), "run", counted)
    moved = [TRUTH + np.array(shift) for shift in ((0, 0), (5, 0), (0, 9))]
    answers: dict[int, dict] = {}
    with served({"dots": predictor}) as server:

        def ask(number: int) -> None:
            answers[number] = server.poses(picture(dots(moved[number]), f"{number}.png"))[2]

        clients = [threading.Thread(target=ask, args=[number]) for number in range(3)]
        clients[0].start()
        assert busy.wait(30)
        for client in clients[1:]:
            client.start()
        line = server.api.lines["dots"]
        until(lambda: line.waiting.qsize() == 2)
        free.set()
        for client in clients:
            client.join()
    assert sizes == [1, 2]
    for number, xy in enumerate(moved):
        (image,) = answers[number]["images"]
        assert image["file_name"] == f"{number}.png"
        np.testing.assert_allclose(np.array(image["people"][0]["keypoints"])[:, :2], xy, atol=0.5)


def test_one_that_breaks_the_network_breaks_alone(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of ours for one image; two others share its stream, and are answered."""
    predictor = finder(model)
    estimate = type(predictor.estimator).estimate

    def fussy(self: object, images: list, matrices: object, boxes: object) -> object:
        if any(image.shape[1] == 77 for image in images):
            raise RuntimeError("of ours")
        return estimate(predictor.estimator, images, matrices, boxes)

    monkeypatch.setattr(type(predictor.estimator), "estimate", fussy)
    sizes = ((160, 200), (77, 200), (160, 200))
    jobs = [Job(str(n), picture(dots(size=size))[2]) for n, size in enumerate(sizes)]
    with served({"dots": predictor}) as server:
        server.api.lines["dots"]._take(jobs)
    assert [job.answer.result()["file_name"] for job in (jobs[0], jobs[2])] == ["0", "2"]
    assert isinstance(jobs[1].answer.exception(), RuntimeError)


def test_an_image_without_an_answer_is_refused_alone(tmp_path: Path) -> None:
    """By a network that has none to black pictures, with which a server warms up."""
    fussy = fussy_model(tmp_path / "fussy.onnx")
    assert list(load([str(fussy)], "person", 1)) == ["fussy"]
    with served({"fussy": finder(fussy)}) as server:
        status, error = server.refused(picture(np.zeros((9, 9, 3), np.uint8)))
        assert server.poses(picture(dots()))[0] == 200
    assert status == 422
    assert error.startswith("a.png: fussy.onnx has no answer to it: its output heatmaps has what")


def test_an_error_of_ours_is_said_and_nothing_of_it(
    dotted: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> object:
        raise RuntimeError("a secret")

    monkeypatch.setattr("poised.serve.app.check_head", broken)
    status, error = dotted.refused(picture(dots()))
    assert status == 500
    assert "secret" not in error
    until(lambda: "RuntimeError: a secret" in caplog.text)  # the log says all


def test_models_and_what_is_made_of_their_names(dotted: Served) -> None:
    status, _, body = dotted.ask("GET", "/v1/models")
    answer = json.loads(body)
    assert (status, answer["default"]) == (200, "dots")
    assert [one["name"] for one in answer["models"]] == ["dots", "twin"]
    skeleton = answer["models"][0].pop("skeleton")
    assert skeleton["keypoints"] == ["left_dot", "right_dot", "middle_dot"]
    assert (skeleton["limbs"], skeleton["pairs"]) == ([[0, 1]], [[0, 1]])
    assert answer["models"][0]["input"] == [96, 128]  # width, height
    twin = dotted.poses(picture(dots()), ("model", None, b"twin"))[2]
    assert twin["model"] == "twin"
    status, error = dotted.refused(picture(dots()), ("model", None, b"/etc/passwd"))
    assert (status, error) == (404, "no model '/etc/passwd'; there are: dots, twin")


def test_an_image_that_cannot_be_used_is_named(dotted: Served) -> None:
    good, cut = picture(dots()), ("image", "cut.jpg", MESSI.read_bytes()[:3000])
    status, error = dotted.refused(good, ("image", "b.txt", b"no picture"))
    assert (status, error) == (422, "b.txt: not an image of a known format")
    status, error = dotted.refused(good, cut)
    assert status == 422
    assert error.startswith("cut.jpg: damaged or cut short")
    assert dotted.refused(("image", "c.png", b""))[1] == "c.png: the file is empty"


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "http://a/b.jpg"])
def test_a_file_name_is_text_alone(dotted: Served, name: str) -> None:
    """A path's own file is not opened: the bytes that came with the name are no image."""
    assert dotted.poses(picture(dots(), name))[2]["images"][0]["file_name"] == name
    assert dotted.refused(("image", name, name.encode()))[0] == 422


def test_a_file_name_is_short_and_does_nothing(dotted: Served) -> None:
    wild = "a\x00b\x1b[31mc\u202ed\u2028e" + "x" * 2000
    name = dotted.poses(picture(dots(), wild))[2]["images"][0]["file_name"]
    assert name.startswith("ab[31mcdexxx")
    assert len(name) <= 255
    assert name.isprintable()


@pytest.mark.parametrize(
    ("parts", "status", "words"),
    [
        ([], 422, "image: none was sent"),
        ([("model", None, b"dots")], 422, "image: none was sent"),
        ([("image", None, b"text")], 422, "expected a file"),
        ([("picture", "a.png", b"x")], 422, "no field is named 'picture'; known: image, model, he"),
        ([("heatmaps", None, b"maybe")], 422, "heatmaps is 'maybe'; expected true or false"),
        ([("model", None, b"a"), ("model", None, b"b")], 422, "model: sent twice; send it once"),
        ([("model", None, b"x" * 1001)], 422, "model: longer than 1000 bytes"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(
    dotted: Served, parts: list, status: int, words: str
) -> None:
    told = dotted.refused(*parts)
    assert told[0] == status
    assert words in told[1]


@pytest.mark.parametrize(
    ("kind", "body", "status", "words"),
    [
        ("application/json", b"{}", 415, "the body is application/json; send multipart/form-data"),
        ("", b"", 415, "the body is of no type; send multipart/form-data"),
        ("multipart/form-data", b"x", 400, "without a boundary"),
        ("multipart/form-data; boundary=b", b"--c\r\n\r\n", 400, "is not multipart/form-data"),
        ("multipart/form-data; boundary=b", b"--b\r\nA: b\r\n", 400, "was cut short"),
        (f"multipart/form-data; boundary={'b' * 300}", b"", 400, "Boundary length 300"),
        ("multipart/form-data; boundary=b", b"--b\r\nA:" + b"b" * 9000, 400, "header"),
    ],
)
def test_a_body_of_another_kind(
    dotted: Served, kind: str, body: bytes, status: int, words: str
) -> None:
    told, _, answer = dotted.ask("POST", "/v1/predict", body, Content_Type=kind)
    assert json.loads(answer)["status"] == told == status
    assert words in json.loads(answer)["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/predict", 405), ("POST", "/healthz", 405), ("GET", "/nothing", 404),
     ("GET", "/static/../app.py", 404), ("GET", "/static/%2e%2e/app.py", 404)],
)  # fmt: skip
def test_other_paths_and_methods(dotted: Served, method: str, path: str, status: int) -> None:
    told, headers, body = dotted.ask(method, path)
    assert json.loads(body)["status"] == told == status
    allowed = {"/v1/predict": "POST", "/healthz": "GET, HEAD"}
    assert headers.get("allow") == (allowed[path] if status == 405 else None)


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1/models", "/nothing"])
def test_head_is_get_without_its_body(dotted: Served, path: str) -> None:
    status, told, body = dotted.ask("GET", path)
    again, told_again, nothing = dotted.ask("HEAD", path)
    assert again == status
    assert int(told_again["content-length"]) == int(told["content-length"]) == len(body)
    assert nothing == b""


def test_a_browser_is_told_to_load_from_here_alone(dotted: Served) -> None:
    for path, status in (("/", 200), ("/healthz", 200), ("/nothing", 404)):
        told, headers, _ = dotted.ask("GET", path)
        assert told == status
        policy = dict(p.split(" ", 1) for p in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert headers["x-content-type-options"] == "nosniff"
        assert not [name for name in headers if name.startswith("access-control")]
    assert dotted.ask("OPTIONS", "/v1/predict", Origin="http://evil.example")[0] == 405
    assert dotted.ask("GET", "/docs")[0] == 404


def test_the_figures_for_prometheus(model: Path) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    with served({"dots": finder(model)}) as server:
        server.poses(picture(dots()), picture(dots()))
        server.refused()
        for path in ("/made", "/up"):
            server.ask("GET", path)
        assert json.loads(server.ask("GET", "/healthz")[2]) == {"status": "ok"}
        status, headers, body = server.ask("GET", "/metrics")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(body.decode())
    told = {(s.name, *sorted(s.labels.values())): s.value for f in families for s in f.samples}
    assert told["poised_requests_total", "/v1/predict", "200"] == 1
    assert told["poised_requests_total", "/v1/predict", "422"] == 1
    assert told["poised_requests_total", "404", "other"] == 2
    assert told["poised_images_total", "dots"] == told["poised_people_total", "dots"] == 2
    assert told["poised_images_together_sum", "dots"] == 2
    assert told["poised_requests_under_way",] == 0
    assert told["process_resident_memory_bytes",] > 1e6


def test_real_answers_have_the_stated_shapes(dotted: Served) -> None:
    from poised.serve.answers import Models, Poses

    answer = dotted.poses(picture(dots()), ("heatmaps", None, b"true"))[2]
    assert Poses.model_validate(answer).model_dump() == answer
    models = json.loads(dotted.ask("GET", "/v1/models")[2])
    assert Models.model_validate(models).model_dump() == models


def test_openapi_names_every_route_and_loads_nothing(dotted: Served) -> None:
    told = json.loads(dotted.ask("GET", "/openapi.json")[2])
    assert set(told["paths"]) == {"/v1/predict", "/v1/models", "/healthz", "/metrics"}
    answers = told["paths"]["/v1/predict"]["post"]["responses"]
    stated = {"200", "400", "404", "408", "413", "415", "422", "429", "500", "503", "504"}
    assert set(answers) == stated
    body = told["paths"]["/v1/predict"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert body["schema"]["properties"]["image"]["maxItems"] == dotted.api.limits.images
    failed = {"$ref": "#/components/schemas/Failed"}
    for status in stated - {"200"}:
        assert answers[status]["content"]["application/json"]["schema"] == failed


def test_nothing_is_written_to_disk(dotted: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """An upload of 4 MB, where others spool from 1 MB on: no temporary file is made."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    noise = np.random.default_rng(0).integers(0, 255, (1100, 1100, 3)).astype(np.uint8)
    part = picture(noise)
    assert len(form(part)) > 3_500_000
    assert dotted.poses(part)[0] == 200
