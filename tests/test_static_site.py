"""The folder for any web host: what is in it, and that its poses are those of Python."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from browser import Browser, chromium, served
from PIL import Image
from typer.testing import CliRunner

from poised import Predictor
from poised.bundled import bundled_models
from poised.cli import app
from poised.runtime import find_model
from poised.serve.static_site import (
    PACK,
    RUNTIME,
    StaticSiteError,
    page_folder,
    write_static,
)

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
PICTURES = ("basketball1.png", "basketball2.png", "messi5.jpg")


@pytest.fixture
def runtime(tmp_path: Path) -> Path:
    """A folder that has the names of onnxruntime-web's files."""
    folder = tmp_path / "package" / "dist"
    folder.mkdir(parents=True)
    for name in RUNTIME:
        (folder / name).write_text(name, encoding="utf-8")
    return folder.parent


def test_the_folder_is_whole(tmp_path: Path, runtime: Path) -> None:
    site = tmp_path / "site"
    assert write_static(site, runtime=runtime) == ["coco17", "coco17-small"]
    listed = json.loads((site / "models.json").read_text(encoding="utf-8"))
    assert listed["default"] == "coco17"
    files = [one["file"] for one in (*listed["models"], listed["detector"])]
    for name, file in zip(("coco17", "coco17-small", "person"), files, strict=True):
        assert (site / file).read_bytes() == find_model(name).read_bytes()
    small = listed["models"][1]
    assert (small["input"], small["threshold"], small["megabytes"]) == ([128, 192], 0.5, 4.6)
    assert small["skeleton"]["limbs"][0] == [5, 7]  # left shoulder, left elbow
    assert "./local/local.js" in (site / "static" / "engine.js").read_text(encoding="utf-8")
    assert (site / "index.html").is_file()
    assert {path.name for path in (site / "runtime").iterdir()} == set(RUNTIME)


def test_the_npm_package_itself_will_do(tmp_path: Path, runtime: Path) -> None:
    package = tmp_path / "onnxruntime-web.tgz"
    with tarfile.open(package, "w:gz") as archive:
        archive.add(runtime, "package")
    write_static(tmp_path / "site", ["coco17-small"], runtime=package)
    for name in RUNTIME:
        assert (tmp_path / "site" / "runtime" / name).read_text(encoding="utf-8") == name


def test_the_command_writes_it(tmp_path: Path, runtime: Path) -> None:
    command = ["serve", "--static", str(tmp_path / "site"), "--model", "coco17-small"]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, PACK in done.output) == (2, True), done.output
    done = CliRunner().invoke(app, [*command, "--runtime", str(runtime)])
    assert (done.exit_code, "the page with coco17-small -> " in done.output) == (0, True)
    assert (tmp_path / "site" / "index.html").is_file()


def test_what_is_in_the_way_is_said(tmp_path: Path, runtime: Path) -> None:
    site = tmp_path / "site"
    with pytest.raises(StaticSiteError, match=PACK):
        write_static(site)
    (runtime / "dist" / RUNTIME[2]).unlink()
    with pytest.raises(StaticSiteError, match=f"lacks .*{RUNTIME[2]}; `npm pack"):
        write_static(site, runtime=runtime)
    with pytest.raises(StaticSiteError, match="not npm's onnxruntime-web"):
        write_static(site, runtime=SAMPLES / "messi5.jpg")
    with pytest.raises(StaticSiteError, match="two models are named coco17:"):
        write_static(site, ["coco17", "coco17"], runtime=runtime)
    with pytest.raises(StaticSiteError, match=r"person.onnx: kind 'detector'"):
        write_static(site, ["person"], runtime=runtime)
    with pytest.raises(StaticSiteError, match="no model given"):
        write_static(site, [], runtime=runtime)
    assert not site.exists()
    with pytest.raises(StaticSiteError, match="is there already"):
        write_static(tmp_path, runtime=runtime)


def test_the_page_asks_nobody_else_and_holds_nothing_inline() -> None:
    """What a strict Content-Security-Policy would forbid, and addresses of other hosts."""
    files = [path for path in page_folder().rglob("*") if path.is_file()]
    assert files
    for path in files:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        found = re.search(r"https?://\w|[\"'`]//\w| style=|<style|\beval\(| on\w+=\"", text)
        assert found is None, f"{path.name} has {found}"
    page = (page_folder() / "index.html").read_text(encoding="utf-8")
    assert page.count("<script") == page.count('<script type="module" src="static/')


@pytest.fixture(scope="module")
def real() -> Path:
    """onnxruntime-web, as `npm pack` brings it."""
    place = os.environ.get("ONNXRUNTIME_WEB")
    if place is None or not Path(place).exists():
        pytest.skip(f"needs ONNXRUNTIME_WEB, the .tgz of `{PACK}` or its unpacked folder")
    return Path(place)


@pytest.fixture(scope="module")
def site(real: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browser, str]]:
    """The page within a browser whose every network request is written down."""
    folder = tmp_path_factory.mktemp("static")
    write_static(folder, runtime=real)
    log = folder.parent / "net.json"
    with served(folder) as address:
        with chromium(folder.parent, net_log=log) as browser:
            browser.open(address)
            yield browser, address
        check_requests(log, address)


def check_requests(log: Path, address: str) -> None:
    """Nothing that the page or its worker began went elsewhere; what the browser itself asks for,
    without an initiator, does not count."""
    written = json.loads(log.read_text(encoding="utf-8"))
    begun = written["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [e.get("params", {}) for e in written["events"] if e["type"] == begun]
    ours = [one["url"] for one in asked if one.get("initiator", "not an origin") != "not an origin"]
    assert any(url.endswith(".onnx") for url in ours)  # the worker's are among them
    hosts = {urlsplit(url).netloc for url in ours if not url.startswith(("blob:", "data:"))}
    assert hosts == {urlsplit(address).netloc}


@pytest.mark.long
@pytest.mark.parametrize("model", ["coco17", "coco17-small"])
def test_poses_in_the_browser_are_python_s(site: tuple[Browser, str], model: str) -> None:
    """Within 1 pixel and 0.02 of score, with flip; ONNX Runtime in fp32 on both sides."""
    browser, _ = site
    assert model in bundled_models()
    predictor = Predictor.load(model, engine="onnx")
    for name in PICTURES:
        want = predictor.predict(SAMPLES / name)
        image = browser.estimated(SAMPLES / name, model)["images"][0]
        assert (image["width"], image["height"]) == want.size
        people = image["people"]
        assert len(people) == len(want) > 0
        xy = np.array([person["keypoints"] for person in people])
        np.testing.assert_allclose(xy[..., 2], want.keypoint_score, atol=0.02)
        sure = want.keypoint_score > 0.2
        away = np.linalg.norm(xy[..., :2] - want.xy, axis=-1)
        assert away[sure].max() < 1
        np.testing.assert_allclose([p["bbox"] for p in people], want.boxes.xywh, atol=1)
        np.testing.assert_allclose([p["score"] for p in people], want.score, atol=0.02)


@pytest.mark.long
def test_a_map_s_peak_lies_on_its_joint(site: tuple[Browser, str]) -> None:
    """Heatmaps, their place in the picture, and the keypoints agree, to half a cell."""
    browser, _ = site
    answer = browser.estimated(SAMPLES / "messi5.jpg", "coco17", heatmaps=True)
    person = answer["images"][0]["people"][0]
    maps, to_image = person["heatmaps"], np.array(person["heatmaps"]["to_image"])
    grey = decoded(maps["png"]).reshape(maps["joints"], maps["height"], maps["width"])
    for (x, y, score), one in zip(person["keypoints"], grey, strict=True):
        row, column = np.unravel_index(one.argmax(), one.shape)
        away = to_image[:, :2] @ [column, row] + to_image[:, 2] - [x, y]
        if score > 0.5:
            assert np.abs(away).max() < 1.01 * to_image[0, 0]
    assert grey.max(axis=(1, 2)).min() == 255


def decoded(png: str) -> np.ndarray[Any, Any]:
    """A grey PNG in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("L"))
