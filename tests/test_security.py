"""Strange files and places: nothing is run, nothing is read or written that was not meant."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made import make_discs
from PIL import Image
from typer.testing import CliRunner

from poised.boxes.files import BoxFileError, boxes_of, read_boxes
from poised.cli import app
from poised.datasets.pack import pack_people
from poised.files import locked, write_text
from poised.images import ImageError, read_image
from poised.in_a_process import ANSWER, MEMORY, fatal, in_a_process
from poised.packs import PACK, open_pack
from poised.reading import parse_yaml, read_yaml
from poised.runtime import ModelError, Session

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "data" / "samples"


class Evil:
    """A pickle that makes a file when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["a.pth", "a.pt", "a.safetensors", "a.onnx", "a.torchscript"])
def test_a_pickle_is_never_run(name: str, tmp_path: Path) -> None:
    """By whatever command it is given, in a zip as torch writes it or bare."""
    pytest.importorskip("torch", reason="needs poised[train]")
    mark, file, out = tmp_path / "mark", tmp_path / name, tmp_path / "out.safetensors"
    data = pickle.dumps({"state_dict": Evil(mark)})
    for zipped in (False, True):
        file.write_bytes(data)
        if zipped:
            with zipfile.ZipFile(file, "w") as archive:
                for member in ("a/data.pkl", "a/constants.pkl", "a/code/x.py"):
                    archive.writestr(member, data)
                archive.writestr("a/version", "3\n")
                archive.writestr("a/extra/poised.json", "{}")
        for arguments in (
            ["import-weights", str(file), str(out), "--from", "hourglass"],
            ["import-backbone", str(file), str(out)],
            ["predict", str(SAMPLES), "--out", str(tmp_path / "out"), "--model", str(file)],
            ["export", str(file), "--out", str(tmp_path / "out.onnx")],
        ):
            result = CliRunner().invoke(app, arguments)
            assert result.exit_code == 2, result.output
            assert not mark.exists(), arguments
    pickle.loads(data)  # as it is, it works
    assert mark.is_dir()


@pytest.mark.parametrize("name", ["../secret.png", "{}/secret.png"])
def test_a_box_file_opens_no_image(name: str, tmp_path: Path) -> None:
    """Names are compared with the images given, and nothing is looked for on the disk."""
    secret, images = tmp_path / "secret.png", tmp_path / "images"
    images.mkdir()
    for path in (secret, images / "a.png"):
        Image.new("RGB", (8, 8)).save(path)
    boxes = tmp_path / "boxes.json"
    box = {"file_name": name.format(tmp_path), "bbox": [1, 1, 4, 4]}
    boxes.write_text(json.dumps([box]))
    with pytest.raises(BoxFileError, match="is none of the 1 images given"):
        boxes_of(read_boxes(boxes), [images / "a.png"], boxes)


def test_a_pack_holds_no_way_out(tmp_path: Path) -> None:
    """A name with .. in annotations gets another one in the pack; in a pack it is just a name."""
    root = tmp_path / "set"
    make_discs(root, 4)
    file = root / "annotations" / "person_keypoints_train.json"
    values = json.loads(file.read_text())
    names = ["../images/1.png", str(root / "images" / "2.png"), "3.png"]
    for image, name in zip(values["images"], names, strict=True):
        image["file_name"] = name
    file.write_text(json.dumps(values))
    pack_people("coco", root, "train", tmp_path / "out")
    members = zipfile.ZipFile(tmp_path / "out" / PACK).namelist()
    assert len(members) == 3
    assert not any(".." in name or Path(name).is_absolute() for name in members)
    with zipfile.ZipFile(tmp_path / PACK, "w") as pack:
        pack.writestr("../../set/discs.yaml", b"a member")
    assert open_pack(tmp_path / PACK).read("../../set/discs.yaml") == b"a member"
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / PACK / ".." / "set" / "discs.yaml")


def test_a_link_in_the_output_folder_is_not_followed(tmp_path: Path) -> None:
    """Planted under every name that a run writes, in a folder that somebody else has made."""
    out, victim = tmp_path / "out", tmp_path / "victim"
    victim.write_text("mine")
    (out / "pictures").mkdir(parents=True)
    planted = ["poses.json", "poses.json.part", "run.json", "run.json.part", "skeleton.json"]
    planted += ["skeleton.json.part", "set_aside.jsonl.part", "pictures/messi5.jpg"]
    for name in planted:
        (out / name).symlink_to(victim)
    arguments = ["predict", str(SAMPLES / "messi5.jpg"), "--out", str(out), "--restart"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert victim.read_text() == "mine"
    assert not any((out / name).is_symlink() for name in planted)
    (tmp_path / "lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "lock"):
        pass
    assert victim.read_text() == "mine"


def test_a_link_among_a_trainings_tables_is_not_followed(tmp_path: Path) -> None:
    """Neither one that is there when it begins, nor one that is put there later."""
    pytest.importorskip("lightning_fabric", reason="needs poised[train]")
    from poised.training_log import TrainingLog

    log, victim = TrainingLog(tmp_path), tmp_path / "victim"
    victim.write_text("1,mine\n")
    (tmp_path / "log").mkdir(exist_ok=True)
    tables = [tmp_path / "log" / f"metrics.{end}" for end in ("csv", "jsonl")]
    tables[0].symlink_to(victim)
    tables[1].symlink_to(tmp_path / "absent")
    log.cut(1)
    log._append("metrics", {"step": 1, "loss": 2.0})
    assert [table.read_text() for table in tables] == [
        "step,loss\n1,2.0\n",
        '{"step": 1, "loss": 2.0}\n',
    ]
    for table in tables:
        table.unlink()
        table.symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        log._append("metrics", {"step": 2, "loss": 2.0})
    assert (victim.read_text(), (tmp_path / "absent").exists()) == ("1,mine\n", False)


def test_a_written_file_replaces_a_link(tmp_path: Path) -> None:
    victim, file = tmp_path / "victim", tmp_path / "file"
    victim.write_text("mine")
    for name in ("file", "file.part"):
        (tmp_path / name).symlink_to(victim)
    write_text(file, "new")
    assert (file.read_text(), file.is_symlink(), victim.read_text()) == ("new", False, "mine")


def test_a_small_file_does_not_unpack_to_a_large_one(tmp_path: Path) -> None:
    """Aliases of aliases in YAML; an image of 2^32 pixels in a thousand bytes."""
    lists = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    (tmp_path / "bomb.yaml").write_text("a0: &a0 [1]\n" + lists)
    with pytest.raises(ValueError, match=r"bomb\.yaml: not YAML: its aliases stand for more"):
        read_yaml(tmp_path / "bomb.yaml", ValueError)
    with pytest.raises(ValueError, match="its aliases stand for more"):
        parse_yaml("a: &a [*a]", "it", ValueError)
    assert parse_yaml("a: &a [1, 2]\nb: [*a, *a]", "it", ValueError)["b"] == [[1, 2], [1, 2]]
    header = (65536).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + chunk
    png += zlib.crc32(chunk).to_bytes(4, "big") + (900).to_bytes(4, "big") + b"IDAT"
    (tmp_path / "bomb.png").write_bytes(png + bytes(1000))
    with pytest.raises(ImageError, match=r"bomb\.png: .*over the limit"):
        read_image(tmp_path / "bomb.png")


def dies(path: Path) -> None:
    """As a parser that a file brings down."""
    os.abort()


def sums(path: Path, name: str) -> list[object]:
    """What a reader gives: the file's size, the name, NaN."""
    return [path.stat().st_size, name, float("nan")]


def refuses(path: Path) -> None:
    raise ValueError("no good")


def ended(path: Path) -> None:
    """As by who is short of memory."""
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_parser_may_die(tmp_path: Path) -> None:
    file = tmp_path / "a.mat"
    file.write_bytes(b"12345")
    size, name, nothing = in_a_process(sums, file, "x", wrong=ValueError)
    assert (size, name, np.isnan(nothing)) == (5, "x", True)
    with pytest.raises(ImageError, match=r"a\.mat: no good"):
        in_a_process(refuses, file, wrong=ImageError)
    with pytest.raises(ImageError, match=r"a\.mat: its reader came down with it \(signal 6\)"):
        in_a_process(dies, file, wrong=ImageError)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_only_what_ends_a_process_is_fatal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an error, which the reader itself will tell, nor who ends it from without; and where no
    Python can be begun, nothing is."""
    file = tmp_path / "a.mat"
    file.write_bytes(b"12345")
    codes = [fatal(read, file, MEMORY) for read in (refuses, ended, dies)]
    assert codes == [0, 0, -signal.SIGABRT]
    for executable in ("", str(tmp_path / "no-python")):
        monkeypatch.setattr(sys, "executable", executable)
        assert fatal(dies, file, MEMORY) == 0
    monkeypatch.undo()
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert fatal(dies, file, MEMORY) == 0


def test_a_model_that_ends_openvino_is_an_error(tmp_path: Path) -> None:
    """A convolution without weights: OpenVINO 2026's reader of ONNX is ended by SIGSEGV."""
    onnx = pytest.importorskip("onnx", reason="needs poised[train]")
    images, maps = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", 3, 8, 8])
        for name in ("images", "maps")
    )
    node = onnx.helper.make_node("Conv", ["images"], ["maps"], kernel_shape=[1, 1])
    graph = onnx.helper.make_graph([node], "graph", [images], [maps])
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset]), str(tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=r"a\.onnx: (its reader came down|not an ONNX model)"):
        Session(tmp_path / "a.onnx", "openvino")


def test_a_small_checkpoint_does_not_unpack_to_a_large_one(tmp_path: Path) -> None:
    """A torch file whose members are packed, which torch reads and never writes."""
    torch = pytest.importorskip("torch", reason="needs poised[train]")
    from poised.pretrained import WeightsError, read_checkpoint

    torch.save({"a": torch.zeros(1 << 20)}, tmp_path / "sound.pth")
    assert read_checkpoint(tmp_path / "sound.pth")["a"].numel() == 1 << 20
    with (
        zipfile.ZipFile(tmp_path / "sound.pth") as sound,
        zipfile.ZipFile(tmp_path / "small.pth", "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for member in sound.infolist():
            small.writestr(member.filename, sound.read(member))
    assert (tmp_path / "small.pth").stat().st_size < 10_000
    with pytest.raises(WeightsError, match=r"small\.pth: unpacks to 4\d{6} bytes"):
        read_checkpoint(tmp_path / "small.pth")


def matlab_bomb(path: Path, gigabytes: int) -> None:
    """A MATLAB file of a megabyte a gigabyte: a variable `joints__` of zeros, by zlib."""
    size = gigabytes << 30
    inside = struct.pack("<4I", 6, 8, 6, 0) + struct.pack("<2I2i", 5, 8, size // 8, 1)
    inside += struct.pack("<2I8s2I", 1, 8, b"joints__", 9, size)
    head = struct.pack("<2I", 14, len(inside) + size) + inside
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += zeros * (size >> 26) + packer.flush()
    high, low = divmod(zlib.adler32(head), 1 << 16)
    packed = b"\x78\xda" + packed + struct.pack(">2H", (high + size * low) % 65521, low)
    start = b"MATLAB 5.0".ljust(116) + bytes(8) + struct.pack("<2H", 0x0100, 0x4D49)
    path.write_bytes(start + struct.pack("<2I", 15, len(packed)) + packed)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's")
def test_a_small_matlab_file_does_not_unpack_to_a_large_one(tmp_path: Path) -> None:
    """A sound one of 1 MB, that unpacks to a GB; and what would be too much as JSON."""
    pytest.importorskip("scipy", reason="needs poised[eval]")
    from poised.datasets.matlab import load

    matlab_bomb(tmp_path / "a.mat", 1)
    assert (tmp_path / "a.mat").stat().st_size < 1 << 21
    room = r"a\.mat: unpacks to more than there is room for \(1 GB\)"
    with pytest.raises(ImageError, match=room):
        in_a_process(load, tmp_path / "a.mat", "joints__", False, wrong=ImageError, memory=1 << 30)
    with pytest.raises(ImageError, match="unpacks to more than there is room for"):
        in_a_process(swells, tmp_path / "a.mat", wrong=ImageError)


def swells(path: Path) -> str:
    """More text than an answer may have, of any file."""
    return "x" * (ANSWER + 1)


def test_no_module_of_the_working_folder_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody's files lie, scipy.py may lie beside them."""
    (tmp_path / "json.py").write_text("import os; os.mkdir('mark')")
    (tmp_path / "a.mat").write_bytes(b"1")
    monkeypatch.chdir(tmp_path)
    assert in_a_process(sums, tmp_path / "a.mat", "x", wrong=ValueError)[0] == 1
    assert not (tmp_path / "mark").exists()


def test_a_playlist_opens_no_other_file(tmp_path: Path) -> None:
    """FFmpeg's lists of files, called a video, would show any file that can be read."""
    pytest.importorskip("av", reason="needs poised[video]")
    from clips import moving_square, write_clip

    from poised.video import Clip, VideoError

    write_clip(tmp_path / "private.mp4", [moving_square(n) for n in range(3)], (0, 20, 41))
    lists = {
        "a.mp4": "ffconcat version 1.0\nfile private.mp4\n",
        "b.mp4": f"ffconcat version 1.0\nfile {tmp_path / 'private.mp4'}\n",
        "c.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nprivate.mp4\n#EXT-X-ENDLIST\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(VideoError, match=re.escape(name)):
            Clip(tmp_path / name)


def guarded(folder: Path, *arguments: str | Path) -> str:
    """`poised ARGUMENTS` at home nowhere, without a network; it may write into folder/out alone."""
    work, scratch = folder / "work", folder / "scratch"
    for place in (work, scratch):
        place.mkdir(exist_ok=True)
    allowed = os.pathsep.join(map(str, (folder / "out", scratch)))
    environment = {**os.environ, "HOME": "/dev/null", "TMPDIR": str(scratch)}
    environment |= {"PYTHONPATH": str(ROOT / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment["TORCHINDUCTOR_CACHE_DIR"] = str(scratch)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"):
        environment.pop(name, None)
    script = Path(__file__).with_name("guarded.py")
    command = [sys.executable, script, allowed, *arguments]
    done = subprocess.run(
        command, cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(work.iterdir()) == []
    return done.stdout


def test_prediction_writes_only_where_it_is_told(tmp_path: Path) -> None:
    guarded(tmp_path, "predict", SAMPLES, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "poses.json").is_file()


@pytest.mark.long
def test_evaluation_and_training_write_only_where_they_are_told(tmp_path: Path) -> None:
    """A training with its model exported, that model on its test part, and the comparison."""
    pytest.importorskip("torch", reason="needs poised[train]")
    skeleton = make_discs(tmp_path / "set", 16)
    fields = ["network={name: plain_pyramid, options: {width: 8}}", "backbone={weights: null}"]
    fields += [f"dataset={{name: coco, root: {tmp_path / 'set'}, train: train}}", "name=discs"]
    fields += [f"skeleton={skeleton}", "input.size=[64, 64]", "test.split=test"]
    fields += ["optimise={batch: 4, epochs: 1, workers: 0}"]
    out = tmp_path / "out"
    guarded(tmp_path, "train", "lsp14", *fields, "--out", out, "--accelerator", "cpu")
    figures = [out / "a.json", out / "b.json"]
    for file in figures:
        arguments = ["evaluate", "--data", tmp_path / "set", "--dataset", "coco"]
        arguments += ["--split", "test", "--skeleton", skeleton, "--out", file]
        guarded(tmp_path, *arguments, "--model", out / "discs.onnx")
    assert "share scored" in guarded(tmp_path, "compare", *figures)
