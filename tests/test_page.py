"""The page in a headless Chromium, with a stub of the server: what a visitor does and sees."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np
import pytest
from browser import Browser
from PIL import Image
from stub_server import HEIGHT, PEOPLE, SIZE, SKELETON, WIDTH, K, picture, show

from poised.results import ResultWriter
from poised.types import Boxes, ImagePoses

GREY, LEFT, RIGHT = [90, 90, 90, 255], [0, 158, 255, 255], [255, 140, 0, 255]
LEFT_ELBOW, NOSE = SKELETON.keypoints.index("left_elbow"), 0


@pytest.fixture
def page(browser: Browser, address: str) -> Browser:
    """The page with one picture, in which two people were found."""
    browser.open(address)
    show(browser, "a.png")
    return browser


def at(page: Browser, x: float, y: float, place: int = 0) -> list[int]:
    """The colour of a canvas where the picture has a point."""
    return page.colour((x + 0.5) / WIDTH, (y + 0.5) / HEIGHT, place)


def joint(person: int, number: int) -> tuple[float, float]:
    x, y, _ = PEOPLE[person]["keypoints"][number]  # type: ignore[index]
    return x, y


def move_to(page: Browser, x: float, y: float) -> None:
    """The pointer, to a point of the picture."""
    page.run(
        "const [x, y, width] = arguments; const canvas = document.querySelector('#views canvas');"
        "const box = canvas.getBoundingClientRect(); const scale = box.width / width;"
        "canvas.dispatchEvent(new PointerEvent('pointermove', {bubbles: true,"
        " clientX: box.left + (x + 0.5) * scale, clientY: box.top + (y + 0.5) * scale}))",
        *(x, y, WIDTH),
    )


def test_a_dropped_picture_is_drawn_and_downloaded(page: Browser, address: str) -> None:
    assert at(page, *joint(0, LEFT_ELBOW)) == LEFT
    assert at(page, *joint(0, LEFT_ELBOW + 1)) == RIGHT
    assert at(page, 5, 5) == GREY
    got = json.loads(page.downloaded("#coco", "poses.json"))
    assert [one["bbox"] for one in got] == [person["bbox"] for person in PEOPLE]
    assert page.text("#errors") == ""
    assert page.log() == []  # no complaint of the Content-Security-Policy among them
    assert {url.removeprefix(address).split("/")[0] for url in page.requested()} <= {
        "",
        "static",
        "v1",
    }


def test_pasted_pictures_are_kept_in_a_strip(page: Browser) -> None:
    show(page, "b.png", "c.png", way="paste")
    buttons = page.driver.find_elements("css selector", "#strip button")
    assert [one.get_attribute("aria-label") for one in buttons] == ["a.png", "b.png", "c.png"]
    buttons[1].click()
    page.until(lambda: page.text("figcaption").startswith("b.png"), "the second picture")
    assert buttons[1].get_attribute("aria-current") == "true"


def test_json_and_csv_are_what_python_writes(page: Browser, tmp_path: Any) -> None:
    """Of the same people, with the rounding and the columns of `poised predict`."""
    show(page, "b, c.png")  # the comma needs quotes
    people = np.array([person["keypoints"] for person in PEOPLE])
    boxes = Boxes(
        np.array([person["bbox"] for person in PEOPLE]),
        np.array([person["box_score"] for person in PEOPLE]),
    )
    score = np.array([person["score"] for person in PEOPLE])
    for style in ("coco", "csv"):
        with ResultWriter(tmp_path, SKELETON, style) as results:
            for name in ("a.png", "b, c.png"):
                results.write(
                    ImagePoses(name, SIZE, SKELETON, boxes, people[..., :2], people[..., 2], score)
                )
    assert json.loads(page.downloaded("#coco", "poses.json")) == json.loads(
        (tmp_path / "poses.json").read_bytes()
    )
    got, want = (
        list(csv.reader(io.StringIO(text.decode())))
        for text in (page.downloaded("#csv", "poses.csv"), (tmp_path / "poses.csv").read_bytes())
    )
    assert got[0] == want[0]
    for mine, theirs in zip(got[1:], want[1:], strict=True):
        assert mine[0] == theirs[0]
        assert [float(v) for v in mine[1:]] == [float(v) for v in theirs[1:]]


def test_png_and_svg_hold_the_picture_as_shown(page: Browser) -> None:
    image = Image.open(io.BytesIO(page.downloaded("#png", "a-poses.png")))
    assert image.size == SIZE  # its own pixels, however large it is shown
    x, y = joint(0, LEFT_ELBOW)
    assert list(image.convert("RGBA").getpixel((round(x), round(y)))) == LEFT  # type: ignore[arg-type]
    root = ElementTree.fromstring(page.downloaded("#svg", "a-poses.svg"))
    assert root.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    titles = [one.text for one in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 2 * K
    assert "left elbow, 0.80, person 1" in titles
    circles = [one for one in root.iter("{http://www.w3.org/2000/svg}circle") if len(one)]
    assert (x, y) in [(float(c.get("cx", 0)), float(c.get("cy", 0))) for c in circles]


def test_joints_are_named_where_pointed_at_and_by_the_keyboard(page: Browser) -> None:
    move_to(page, *joint(0, LEFT_ELBOW))
    assert page.text("#tip") == "left elbow, 0.80, person 1"
    move_to(page, 310, 10)
    assert not page.one("#tip").is_displayed()
    canvas = page.one("#views canvas")
    canvas.send_keys("\ue014")  # arrow right
    assert page.text("#status") == "nose, 0.95, person 1"
    canvas.send_keys("\ue014\ue014\ue012")  # right, right, left
    assert page.text("#status") == "left eye, 0.80, person 1"


def test_the_threshold_leaves_sure_joints_alone(page: Browser) -> None:
    elbow = joint(1, LEFT_ELBOW)
    assert at(page, *elbow) == LEFT
    page.change("#threshold", "0.7", "input")
    page.until(lambda: at(page, *elbow) == GREY, "the second person's to go")
    assert at(page, *joint(0, LEFT_ELBOW)) == LEFT
    assert page.text("#threshold-value") == "0.70"
    page.change("#threshold", "0.9", "input")  # the nose is left, and dots alone say nothing
    page.until(lambda: at(page, *joint(0, NOSE)) == GREY, "all to go")


def test_people_and_joints_are_switched_off_and_on(page: Browser) -> None:
    page.one("#people label:nth-of-type(2)").click()
    page.until(lambda: at(page, *joint(1, LEFT_ELBOW)) == GREY, "the second person to go")
    page.one("#people label:nth-of-type(2)").click()
    page.until(lambda: at(page, *joint(1, LEFT_ELBOW)) == LEFT, "them to come back")
    boxes = page.driver.find_elements("css selector", "#joints label")
    assert [one.text for one in boxes] == [name.replace("_", " ") for name in SKELETON.keypoints]
    boxes[LEFT_ELBOW].click()
    page.until(lambda: at(page, *joint(0, LEFT_ELBOW)) != LEFT, "the elbow to go")
    focused = page.run("return document.activeElement.parentElement.textContent")
    assert focused == "left elbow"  # though the list was made anew
    page.one("#all-joints").click()
    page.until(lambda: at(page, *joint(0, LEFT_ELBOW)) == LEFT, "the elbow to come back")


def test_a_heatmap_lies_where_its_crop_was(page: Browser) -> None:
    """The nose's first cell is the pixels 95 to 105, 55 to 65: `to_image` names its middle."""
    page.one("#no-joints").click()
    page.choose("#heatmap", "nose")
    page.until(lambda: at(page, 100, 60) != GREY, "the map")
    red, green, blue, _ = at(page, 100, 60)
    assert min(red, green) > 200 > 90 > blue  # the highest is yellow
    assert at(page, 112, 60) == GREY
    assert at(page, 88, 60) == GREY
    page.choose("#heatmap", "left_eye")
    page.until(lambda: at(page, 100, 60) == GREY, "another joint's map")


def test_two_models_are_shown_side_by_side(page: Browser) -> None:
    page.choose("#beside", "two")
    page.until(lambda: len(page.driver.find_elements("css selector", "#views canvas")) == 2, "two")
    page.until(lambda: "1 person by two" in page.text("#status"), "the second model's answer")
    assert at(page, *joint(1, LEFT_ELBOW), place=0) == LEFT
    assert at(page, *joint(1, LEFT_ELBOW), place=1) == GREY
    page.choose("#whose", "two")
    assert len(json.loads(page.downloaded("#coco", "poses.json"))) == 1


@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("bad.png", "image/png", "bad.png: damaged or cut short"),
        ("full.png", "image/png", "the queue is full Try again in 3 s."),
        ("notes.txt", "text/plain", "notes.txt: not a picture that this browser can show"),
    ],
)
def test_errors_are_said_and_others_go_on(page: Browser, name: str, kind: str, said: str) -> None:
    page.bring((name, kind, picture() if kind == "image/png" else b"hello"))
    page.until(lambda: said in page.text("#errors"), "the error")
    show(page, "b.png")
    page.one("#errors button").click()
    assert page.text("#errors") == ""


def test_the_camera_s_frames_are_looked_at_and_kept(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.one("#camera").click()
    browser.until(lambda: browser.text("#status").startswith("camera"), "a frame's poses")
    browser.one("#keep").click()
    browser.until(lambda: browser.text("figcaption").startswith("camera-"), "the frame")
    assert not browser.one("#live").is_displayed()
    assert browser.run("return document.querySelector('#video').srcObject") is None


def test_a_clip_is_played_and_let_go(browser: Browser, address: str) -> None:
    browser.open(address)
    browser.bring(("walk.webm", "video/webm", clip()))
    browser.until(lambda: browser.text("#status").startswith("walk.webm"), "a frame's poses")
    assert browser.one("#video").is_displayed()  # with its own buttons
    assert np.abs(np.array(at(browser, 5, 5)) - GREY).max() < 8  # the frame, as the codec left it
    assert at(browser, *joint(0, LEFT_ELBOW)) == LEFT
    browser.one("#stop").click()
    assert not browser.one("#views").is_displayed()
    browser.bring(("broken.webm", "video/webm", b"nothing of the kind"))
    browser.until(
        lambda: "broken.webm: this browser cannot play it" in browser.text("#errors"), "it"
    )


def clip() -> bytes:
    """Twenty grey frames as WebM."""
    av = pytest.importorskip("av", reason="needs av to make a clip")
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as made:
        stream = made.add_stream("libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), "rgb24")
        for _ in range(20):
            made.mux(stream.encode(frame))
        made.mux(stream.encode())
    return file.getvalue()
