"""Whatever comes in is upright RGB uint8, or an error that names it."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from poised.image_list import Paths, list_images
from poised.images import ImageError, Undecoded, image_size, read_image, write_jpeg

RED, BLUE = (255, 0, 0), (0, 0, 255)


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    """Orientation 6: the camera was turned, the stored left edge is the upright top."""
    image = Image.new("RGB", (40, 20), BLUE)
    image.paste(RED, (0, 0, 10, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    read = read_image(saved(image, tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0))
    assert read.shape == (40, 20, 3)
    assert read[2, 10, 0] > 200  # red on top
    assert read[35, 10, 2] > 200


def noise(width: int, height: int) -> Image.Image:
    """Smooth colours, no two sides alike."""
    few = np.random.default_rng(0).integers(0, 256, (5, 4, 3), np.uint8)
    return Image.fromarray(few).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
def test_the_quick_reader_reads_what_the_other_does(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    """To a level or two, whose decoder it is may differ; 0 and 9 are no orientations."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(noise(101, 67), tmp_path / f"a.{suffix}", exif=exif)
    want, picture = read_image(path).astype(int), Undecoded(path)
    assert picture.size == (want.shape[1], want.shape[0])
    read, times = picture.decode()
    assert (read.shape, read.dtype, times) == (want.shape, np.uint8, 1)
    np.testing.assert_allclose(read, want, atol=2)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGB"])
def test_the_quick_reader_knows_the_modes_of_jpeg(tmp_path: Path, mode: str) -> None:
    path = saved(noise(40, 30).convert(mode), tmp_path / "a.jpg", quality=95, progressive=True)
    np.testing.assert_allclose(Undecoded(path).decode()[0], read_image(path).astype(int), atol=2)


def test_an_orientation_of_xmp_alone_counts(tmp_path: Path) -> None:
    """As in `read_image`: Pillow reads both, OpenCV EXIF alone."""
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    path = saved(noise(40, 30), tmp_path / "a.jpg", xmp=xmp)
    assert read_image(path).shape == (40, 30, 3)
    np.testing.assert_allclose(Undecoded(path).decode()[0], read_image(path).astype(int), atol=2)


@pytest.mark.parametrize(("width", "height"), [(256, 192), (253, 187)])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_shrunk_pixel_is_the_mean_of_those_it_covers(
    tmp_path: Path, width: int, height: int, orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(noise(width, height), tmp_path / "a.jpg", exif=exif, quality=100, subsampling=0)
    broken = orientation != 1 and width % 4 != 0  # such a one is not shrunk
    read, times = Undecoded(path).decode(5.9)
    assert times == (1 if broken else 4)
    whole = read_image(path).astype(float)
    rows, columns = (side // times for side in whole.shape[:2])
    covered = whole[: rows * times, : columns * times].reshape(rows, times, columns, times, 3)
    np.testing.assert_allclose(read[:rows, :columns], covered.mean((1, 3)), atol=4)
    assert [Undecoded(path).decode(most)[1] for most in (0.5, 1.99)] == [1, 1]


def test_only_a_jpeg_is_shrunk(tmp_path: Path) -> None:
    read, times = Undecoded(saved(noise(40, 30), tmp_path / "a.webp")).decode(8)
    assert (read.shape, times) == ((30, 40, 3), 1)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "png"])
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_the_quick_reader_refuses_half_an_image(tmp_path: Path, suffix: str, share: float) -> None:
    path = saved(noise(200, 100), tmp_path / f"a.{suffix}")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ImageError, match=rf"a\.{suffix}: damaged or cut short"):
        Undecoded(path).decode()


def test_the_quick_reader_names_what_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ImageError, match=r"none\.jpg: no such file"):
        Undecoded(tmp_path / "none.jpg")
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ImageError, match=r"text\.jpg: not an image"):
        Undecoded(tmp_path / "text.jpg")
    monkeypatch.setattr("poised.images.MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match=r"a\.jpg: 40x30 is over the limit of 1000"):
        Undecoded(saved(noise(40, 30), tmp_path / "a.jpg"))


def test_channel_order_is_rgb(tmp_path: Path) -> None:
    read = read_image(saved(Image.new("RGB", (4, 4), RED), tmp_path / "a.png"))
    assert read[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "LA", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((6, 5), 65535, np.uint16))
    else:
        image = Image.new("RGB", (5, 6), (255, 255, 255)).convert(mode)
    path = saved(image, tmp_path / ("a.tif" if mode == "CMYK" else "a.png"))
    read = read_image(path)
    assert (read.shape, read.dtype) == ((6, 5, 3), np.uint8)
    assert (read == 255).all()


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    path = saved(Image.fromarray(np.full((2, 2), 257 * 100, np.uint16)), tmp_path / "a.png")
    assert read_image(path)[0, 0].tolist() == [100, 100, 100]


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    path = saved(Image.new("RGBA", (3, 3), (0, 0, 0, 0)), tmp_path / "a.png")
    assert (read_image(path) == 255).all()


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    assert read_image(saved(Image.new("RGB", (1, 1), RED), tmp_path / "a.png")).shape == (1, 1, 3)


def test_bytes_and_arrays_are_read() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), RED).save(buffer, "PNG")
    assert read_image(buffer.getvalue()).shape == (2, 3, 3)
    for alike in (bytearray(buffer.getvalue()), memoryview(buffer.getvalue())):
        np.testing.assert_array_equal(read_image(alike), read_image(buffer.getvalue()))
    assert read_image(np.zeros((2, 3), np.uint8)).shape == (2, 3, 3)
    deep = np.arange(6, dtype=">u2").reshape(2, 3) * 8000
    np.testing.assert_array_equal(read_image(deep), read_image(deep.astype("<u2")))
    with pytest.raises(ImageError, match="float64"):
        read_image(np.zeros((2, 3, 3)))
    with pytest.raises(ImageError, match="got"):
        read_image(np.zeros((0, 3, 3), np.uint8))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name on this system")
def test_a_pipe_or_device_is_no_file_and_what_a_shell_hands_over_is(tmp_path: Path) -> None:
    """From another's pipe, and from /dev/zero, a reader would never come back."""
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "dev").mkdir()
    os.mkfifo(tmp_path / "dev" / "a.jpg")
    for endless in (tmp_path / "a.jpg", tmp_path / "dev" / "a.jpg", Path("/dev/zero")):
        assert image_size(endless) == "broken image"
        with pytest.raises(ImageError, match="a pipe or device, not a file"):
            read_image(endless)
    command = [
        sys.executable,
        "-c",
        "import poised.images as i; print(i.read_image('/dev/stdin').shape)",
    ]
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2), RED).save(buffer, "PNG")
    done = subprocess.run(command, input=buffer.getvalue(), capture_output=True, check=True)
    assert done.stdout == b"(2, 3, 3)\n"


def png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and has none."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"this is a letter, not a photograph", "not an image"),
        (png_header(30000, 30000), "over the limit of 100000000 pixels"),
        (png_header(12000, 12000), "12000x12000 is over the limit"),
        (png_header(20, 20), "cut short"),
    ],
)
def test_bad_files_are_named_with_their_reason(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(path)
    assert str(path) in str(caught.value)


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    path = saved(Image.fromarray(noise), tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(ImageError, match="cut short"):
        read_image(path)


def test_missing_files_and_empty_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="no such file or folder"):
        list_images([tmp_path / "none"])
    with pytest.raises(ImageError, match="no image in this folder"):
        list_images([tmp_path])


def test_an_unreadable_folder_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0)
    user = os.geteuid()
    try:
        if user == 0:  # nothing is locked for root: ask as somebody else
            os.seteuid(65534)
        with pytest.raises(ImageError, match=r"locked: cannot be read: Permission denied"):
            list_images([folder])
    finally:
        os.seteuid(user)


def test_a_locked_folder_below_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def deny(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(ImageError, match=r"locked: cannot be read: Permission denied"):
        list_images([tmp_path])


def test_a_pixel_format_without_a_scale_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="32 bits a pixel, of which no scale is known"):
        read_image(tmp_path / "a.tif")


def test_a_pillow_image_is_an_image() -> None:
    """Upright, and left as it is."""
    image = Image.new("RGB", (40, 20), BLUE)
    image.getexif()[0x0112] = 6
    assert read_image(image).shape == (40, 20, 3)
    assert image.size == (40, 20)
    assert read_image(Image.new("RGBA", (3, 2), (0, 0, 0, 0))).tolist() == [[[255] * 3] * 3] * 2
    with pytest.raises(ImageError, match="the image: 20x20 is over the limit"):
        read_image(Image.new("L", (20, 20)), max_pixels=399)
    with pytest.raises(ImageError, match="a path, bytes, a PIL image or an array, got list"):
        read_image([[0, 0]])  # type: ignore[arg-type]


def test_avif_and_heic_are_read(tmp_path: Path) -> None:
    saved(Image.new("RGB", (32, 16), RED), tmp_path / "a.avif", quality=100)
    read = read_image(tmp_path / "a.avif")
    assert read.shape == (16, 32, 3)
    np.testing.assert_allclose(read[8, 16], RED, atol=8)
    heif = pytest.importorskip("pillow_heif", reason="needs poised[heic]")
    heif.from_pillow(Image.new("RGB", (32, 16), RED)).save(tmp_path / "a.heic", quality=100)
    read = read_image((tmp_path / "a.heic").read_bytes())
    assert read.shape == (16, 32, 3)
    np.testing.assert_allclose(read[8, 16], RED, atol=8)


def test_heic_without_its_reader_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "open", _unidentified)  # nor one that another test has installed
    (tmp_path / "IMG_1.HEIC").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0")
    with pytest.raises(ImageError, match=r"IMG_1\.HEIC: HEIC needs .*pip install 'poised\[heic\]'"):
        read_image(tmp_path / "IMG_1.HEIC")


def _unidentified(file: object) -> None:
    raise UnidentifiedImageError


def test_nothing_that_may_hold_people_is_passed_over(tmp_path: Path) -> None:
    """Videos and raw files stand among the images, to be refused each by what it is."""
    for name in ("a.avif", "b.HEIC", "clip.MP4", "c.mov", "d.cr2", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    names = [path.name for path in list_images([tmp_path])]
    assert names == ["a.avif", "b.HEIC", "c.mov", "clip.MP4", "d.cr2"]
    with pytest.raises(ImageError, match=r"clip\.MP4: a video; give videos"):
        read_image(tmp_path / "clip.MP4")
    with pytest.raises(ImageError, match=r"d\.cr2: a camera's raw file"):
        read_image(str(tmp_path / "d.cr2"))
    with pytest.raises(ImageError, match=r"gone\.mp4: no such file"):
        read_image(tmp_path / "gone.mp4")


def test_a_folder_of_unknown_kinds_says_which(tmp_path: Path) -> None:
    for name in ("a.txt", "b.TXT", "sub.json", "plain"):
        (tmp_path / name).touch()
    has = r"no image in this folder, it has 2 \.txt, 1 without a suffix, 1 \.json; known: \.avif"
    with pytest.raises(ImageError, match=has):
        list_images([tmp_path])


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("b.PNG", "a.jpg", "sub/c.webp", "notes.txt", "._a.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    names = [p.relative_to(tmp_path).as_posix() for p in list_images([tmp_path])]
    assert names == ["a.jpg", "b.PNG", "sub/c.webp"]


def test_a_written_jpeg_leaves_no_part_behind(tmp_path: Path) -> None:
    write_jpeg(tmp_path / "new" / "a.jpg", np.full((8, 8, 3), 200, np.uint8))
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.jpg"]
    assert abs(int(read_image(tmp_path / "new" / "a.jpg")[4, 4, 0]) - 200) <= 1


def test_a_data_sets_heic_images_have_a_size(tmp_path: Path) -> None:
    """In a process of its own: once read, Pillow knows the format."""
    heif = pytest.importorskip("pillow_heif", reason="needs poised[heic]")
    heif.from_pillow(Image.new("RGB", (32, 16), RED)).save(tmp_path / "a.heic")
    code = "import sys, pathlib; from poised.images import image_size; "
    code += "print(image_size(pathlib.Path(sys.argv[1])), image_size(pathlib.Path(sys.argv[2])))"
    (tmp_path / "b.heic").write_bytes(b"no image")
    asked = [sys.executable, "-c", code, str(tmp_path / "a.heic"), str(tmp_path / "b.heic")]
    said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert said.strip() == "(32, 16) broken image"


def test_a_list_of_paths_takes_no_paths_memory() -> None:
    """It is a list of them all the same, each once."""
    given = [Path("a/b.jpg"), Path("c.png"), Path("a/b.jpg")]
    paths = Paths(given)
    assert list(paths) == given[:2]
    assert (len(paths), paths[-1], paths[:1]) == (2, given[1], given[:1])
    tracemalloc.start()
    try:
        kept = Paths(Path("/photos", "somebody", f"{number:06}.jpg") for number in range(1000))
        used = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert used < 150 * len(kept)
