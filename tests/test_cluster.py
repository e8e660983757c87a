"""Prediction by Ray: what the local command finds, from two workers of whom one is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

ray = pytest.importorskip("ray", reason="needs poised[ray]")
pq = pytest.importorskip("pyarrow.parquet", reason="needs poised[ray]")

from models import colour_model
from PIL import Image
from typer.testing import CliRunner

from poised.cli import app

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of threads and sockets
]
COMPARED = ("bbox", "box_score", "score", "keypoints")


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images of noise and a broken one, a model of them, and what the local command finds."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "in").mkdir()
    rng = np.random.default_rng(0)
    for number in range(300):
        noise = rng.integers(0, 255, (20, 16, 3), np.uint8).repeat(4, 0).repeat(4, 1)
        Image.fromarray(noise).save(folder / "in" / f"{number:03}.png")
    (folder / "in" / "100-broken.jpg").write_bytes(b"no image")
    colour_model(folder / "dots.onnx")
    command = ["predict", str(folder / "in"), "--out", str(folder / "local"), "--no-draw"]
    done = CliRunner().invoke(app, [*command, *options(folder), "--threads", "1"])
    assert done.exit_code == 1, done.output
    return folder


def options(given: Path) -> list[str]:
    return ["--whole-image", "--model", str(given / "dots.onnx")]


@pytest.fixture
def cluster() -> Iterator[None]:
    """Three cores, two for the workers."""
    ray.init(num_cpus=3, include_dashboard=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()


def predict(given: Path, source: str, output: str) -> None:
    command = ["cluster", "predict", source, "--out", output, "--workers", "2"]
    done = CliRunner().invoke(app, [*command, *options(given)])
    assert done.exit_code == 0, f"{done.output}\n{done.exception!r}"
    assert f"301 images -> {output}" in done.output


def check(given: Path, rows: list[dict[str, object]]) -> None:
    """Each image once, in the list's order, with the numbers of the local run."""
    local = json.loads((given / "local" / "poses.json").read_text())
    assert [row["place"] for row in rows] == list(range(301))
    aside = [row for row in rows if row["set_aside"] is not None]
    assert [row["set_aside"] for row in aside] == ["not an image of a known format"]
    assert str(aside[0]["file_name"]).endswith("in/100-broken.jpg")
    found = [row for row in rows if row["set_aside"] is None]
    for ours, theirs in zip(found, local, strict=True):
        assert Path(str(ours["file_name"])).name == Path(theirs["file_name"]).name
        assert [ours[name] for name in COMPARED] == [theirs[name] for name in COMPARED]


def busy_workers() -> list[int]:
    """The processes that are at a part: Ray names them so."""
    found = []
    for status in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = status.read_bytes().replace(b"\0", b" ")
        except OSError:  # it has ended
            continue
        if b"MapWorker(MapBatches(Worker))" in name and b"__init__" not in name:
            found.append(int(status.parent.name))
    return found


def test_a_killed_workers_part_is_done_by_another(
    given: Path, tmp_path: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("poised.cluster.PART", 16)
    killed: list[int] = []
    over = threading.Event()

    def kill_one() -> None:
        while not killed and not over.wait(0.02):
            killed.extend(busy_workers()[:1])
        for process in killed:
            os.kill(process, signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    try:
        predict(given, str(given / "in"), str(tmp_path / "out"))
    finally:
        over.set()
        killer.join()
    assert len(killed) == 1
    check(given, pq.read_table(tmp_path / "out").sort_by("place").to_pylist())
    command = ["cluster", "predict", str(given), "--out", str(tmp_path / "out")]
    again = CliRunner().invoke(app, [*command, *options(given)])
    assert (again.exit_code, "out holds files already" in again.output) == (2, True)


def test_a_bucket_is_read_and_written(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moto = pytest.importorskip("moto.server", reason="needs moto[server]")
    boto3 = pytest.importorskip("boto3")
    fs = pytest.importorskip("pyarrow.fs")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        for name, value in (
            ("AWS_ENDPOINT_URL", url),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_DEFAULT_REGION", "us-east-1"),
        ):
            monkeypatch.setenv(name, value)
        client = boto3.client("s3", endpoint_url=url)
        client.create_bucket(Bucket="photos")
        for path in (given / "in").iterdir():
            client.put_object(Bucket="photos", Key=f"in/{path.name}", Body=path.read_bytes())
        ray.init(num_cpus=3, include_dashboard=False, object_store_memory=200 * 2**20)
        predict(given, "s3://photos/in", "s3://photos/out")
        system, folder = fs.FileSystem.from_uri("s3://photos/out")
        check(given, pq.read_table(folder, filesystem=system).sort_by("place").to_pylist())
    finally:
        ray.shutdown()
        server.stop()


def test_more_gpus_than_there_are_are_refused(given: Path, tmp_path: Path, cluster: None) -> None:
    """Ray would wait for them for ever."""
    command = ["cluster", "predict", str(given / "in"), "--out", str(tmp_path / "o")]
    done = CliRunner().invoke(app, [*command, *options(given), "--gpus", "99"])
    assert done.exit_code == 2
    assert "--gpus is 99, and this cluster has " in done.output
