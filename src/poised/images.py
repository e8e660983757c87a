"""Files, bytes and arrays -> RGB uint8; the only place that knows other orders and depths."""

from __future__ import annotations

import io
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from poised.files import FULL, SHUT, write_bytes
from poised.packs import packed

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"}
    | {".avif", ".heic", ".heif"}
)
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp")
RAW = (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".raf", ".rw2")
UNREAD = {  # what else may hold people, and why it is set aside
    **dict.fromkeys(VIDEOS, "a video; give videos in a command of their own"),
    **dict.fromkeys(RAW, "a camera's raw file; save it as JPEG or PNG"),
}
FORMATS = frozenset(  # by Pillow's names; MPO is a JPEG of several pictures
    {"AVIF", "BMP", "GIF", "HEIF", "JPEG", "MPO", "PNG", "TIFF", "WEBP"}
)
HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")  # their brands
MAX_PIXELS = 100_000_000
HANDED_OVER = re.compile("/dev/(stdin|fd/[0-9]+)|/proc/[^/]+/fd/[0-9]+")  # by a shell
NAMELESS = "the image"  # in errors: one that was given as bytes or pixels
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # the EXIF tag, and its values that exchange the sides
END_OF_JPEG = b"\xff\xd9"
REDUCED = {  # how many times shorter the sides of what OpenCV decodes are
    1: cv2.IMREAD_COLOR,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

ImageSource = Path | str | bytes | bytearray | memoryview | NDArray[Any] | Image.Image


class ImageError(ValueError):
    """An image that cannot be used: names it, the reason, and what to do."""


class _WithoutScaleError(ValueError):
    """Pixels that are whole, and cannot be brought to 8 bits."""


def read_image(source: ImageSource, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Any image as (H, W, 3) uint8 RGB, upright.

    EXIF orientation is applied; grey is repeated; transparent pixels are laid on white; 16 bits
    are scaled to 8; of an animation the first frame counts. The size is read from the header and
    checked before anything is decoded. An array is (H, W), (H, W, 3) RGB or (H, W, 4) RGBA, uint8
    or uint16. HEIC needs pillow-heif (`poised[heic]`). Raises ImageError.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    name = str(source) if isinstance(source, Path | str) else NAMELESS
    with _refused(name, max_pixels):
        image = source if isinstance(source, Image.Image) else _open(source, name)
        return _to_rgb(_of_bearable_size(image, name, max_pixels))


def check_head(image: bytes, name: str, max_pixels: int) -> None:
    """ImageError where a file's bytes, by their head, are over the limit or not of FORMATS.

    What else Pillow knows is no photograph, and for some of it Pillow starts programs.
    """
    with _refused(name, max_pixels), _open(image, name) as head:
        if head.format not in FORMATS:
            raise ImageError(f"{name}: {head.format}, expected one of {', '.join(sorted(FORMATS))}")
        _of_bearable_size(head, name, max_pixels)


class Undecoded:
    """An image file whose size is known: (width, height), upright. Raises what `read_image` does.

    For training: `decode` gives what `read_image` does, in less time, or the same in fewer pixels.
    """

    def __init__(self, path: Path) -> None:
        self.name, self.file = str(path), read_bytes(path)
        with _refused(self.name, MAX_PIXELS), _open(self.file, self.name) as image:
            size = _of_bearable_size(image, self.name, MAX_PIXELS).size
            self.orientation = image.getexif().get(ORIENTATION, 1)
            self.size = size[::-1] if self.orientation in TURNED else size
            self.shrinks = image.format == "JPEG"
            self.by_opencv = image.mode == "RGB" and (
                self.file.endswith(END_OF_JPEG)  # one that is cut short is Pillow's to refuse
                if self.shrinks
                else image.format == "WEBP" and getattr(image, "n_frames", 1) == 1
            )

    def decode(self, most: float = 1.0) -> tuple[NDArray[np.uint8], int]:
        """(H, W, 3) uint8 RGB, and how many times shorter than the image its sides are.

        1, 2, 4 or 8 times, and `most` at most. A JPEG alone is shrunk, as its 8x8 cosines are
        undone: each pixel is about the mean of those that it covers.
        """
        times = max((n for n in REDUCED if n <= most), default=1)
        if not self.shrinks or (self.orientation != 1 and any(n % times for n in self.size)):
            times = 1  # a turned one's broken pixels would lie at the other edge
        if self.by_opencv:
            # upright by Pillow's word, which reads XMP as well as EXIF
            flags = REDUCED[times] | cv2.IMREAD_IGNORE_ORIENTATION
            found = cv2.imdecode(np.frombuffer(self.file, np.uint8), flags)
            if found is not None:
                return _turned(cv2.cvtColor(found, cv2.COLOR_BGR2RGB), self.orientation), times
        with _refused(self.name, MAX_PIXELS):
            return _to_rgb(_open(self.file, self.name)), 1


def _turned(stored: NDArray[Any], orientation: int) -> NDArray[np.uint8]:
    """An image (H, W, 3) upright, by its EXIF orientation; other values than 1 to 8 count as 1."""
    upright = stored.transpose(1, 0, 2) if orientation in TURNED else stored
    upright = upright[:, ::-1] if orientation in (2, 3, 6, 7) else upright
    upright = upright[::-1] if orientation in (3, 4, 7, 8) else upright
    return np.ascontiguousarray(upright, np.uint8)


@contextmanager
def _refused(name: str, max_pixels: int) -> Iterator[None]:
    """What a decoder raises becomes an ImageError that names the image."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # max_pixels decides
            yield
    except Image.DecompressionBombError as error:  # Pillow's own limit, twice as high as ours
        raise ImageError(f"{name}: over the limit of {max_pixels} pixels; shrink it") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image of a known format") from error
    except ImageError:
        raise
    except _WithoutScaleError as error:
        raise ImageError(f"{name}: {error}") from error
    except Exception as error:  # decoders and EXIF readers raise whatever they meet
        raise ImageError(f"{name}: damaged or cut short: {error}") from error


def _of_bearable_size(image: Image.Image, name: str, max_pixels: int) -> Image.Image:
    """The image, of which only the head is read; ImageError where it is too large."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(
            f"{name}: {width}x{height} is over the limit of {max_pixels} pixels; shrink it"
        )
    return image


def _open(source: object, name: str) -> Image.Image:
    """A path or a file's bytes as Pillow opens them, HEIC by pillow-heif."""
    if isinstance(source, Path | str):
        source = read_bytes(Path(source))
    if isinstance(source, bytearray | memoryview):
        source = bytes(source)
    if not isinstance(source, bytes):
        what = type(source).__name__
        raise ImageError(f"an image is a path, bytes, a PIL image or an array, got {what}")
    if not source:
        raise ImageError(f"{name}: the file is empty")
    return _identified(io.BytesIO(source), source[:12], name)


def _identified(file: Path | io.BytesIO, head: bytes, name: str) -> Image.Image:
    """A file as Pillow opens it, HEIC by pillow-heif; head: its first 12 bytes."""
    try:
        return Image.open(file)
    except UnidentifiedImageError:
        if head[4:8] != b"ftyp" or head[8:12] not in HEIF:
            raise
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(f"{name}: HEIC needs pillow-heif: pip install 'poised[heic]'") from error
    register_heif_opener()
    return Image.open(file)


def read_bytes(path: Path) -> bytes:
    """An image file's bytes, in a pack or not; ImageError where there are none to be decoded."""
    kind = UNREAD.get(path.suffix.lower())
    if kind is not None and path.is_file():
        raise ImageError(f"{path}: {kind}")
    try:
        data = packed(path)
        if data is None:
            _check_ends(path)
            data = path.read_bytes()
        return data
    except FileNotFoundError as error:
        raise ImageError(f"{path}: no such file") from error
    except ValueError as error:  # the pack is damaged
        raise ImageError(str(error)) from error
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}") from error


def _check_ends(path: Path) -> None:
    """ImageError for a device, and for a pipe that was not handed over: there may be no end."""
    mode = path.stat().st_mode
    pipe = stat.S_ISFIFO(mode) and not HANDED_OVER.fullmatch(path.absolute().as_posix())
    if pipe or stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
        raise ImageError(f"{path}: a pipe or device, not a file; give a pipe as /dev/stdin")


def image_size(path: Path, whole: bool = False) -> tuple[int, int] | str:
    """(width, height) of an image as it stands upright, or what is wrong with it.

    From the file's head alone; `whole` decodes it too, coarsely, and finds one that is cut short.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            data = packed(path)
            if data is None:
                _check_ends(path)
            with path.open("rb") if data is None else io.BytesIO(data) as file:
                head = file.read(12)
            with _identified(path if data is None else io.BytesIO(data), head, str(path)) as image:
                size, turned = image.size, image.getexif().get(ORIENTATION, 1) in TURNED
                if whole:
                    image.draft(image.mode, (1, 1))
                    image.load()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return "missing image"
    except Exception:  # as in read_image
        return "broken image"
    return size[::-1] if turned else size


def _to_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Decode a Pillow image, upright, to RGB."""
    if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
        raise _WithoutScaleError(
            "32 bits a pixel, of which no scale is known; save it with 8 or 16"
        )
    if image.mode.startswith("I"):  # 16 bits: Pillow's convert would clip
        return _from_array(
            np.asarray(ImageOps.exif_transpose(image)).clip(0, 65535).astype(np.uint16)
        )
    if image.mode == "RGB":
        image.load()
        upright: Image.Image = ImageOps.exif_transpose(image)
        return np.asarray(upright, dtype=np.uint8)
    upright = ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        return _from_array(np.asarray(upright.convert("RGBA")))
    return np.asarray(upright.convert("RGB"), dtype=np.uint8)


def _from_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey, RGB or RGBA of 8 or 16 bits as RGB uint8."""
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise ImageError(f"an image array is (H, W), (H, W, 3) or (H, W, 4), got {array.shape}")
    if array.dtype.newbyteorder("=") == np.uint16:
        array = np.round(array / 257.0).astype(np.uint8)  # 65535 / 255
    if array.dtype != np.uint8:
        raise ImageError(f"an image array is uint8 or uint16, got {array.dtype}")
    if channels == 1:
        return np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    if channels == 4:
        alpha = array[..., 3:].astype(np.float32) / 255
        return np.round(array[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return array


def write_jpeg(path: Path, image: NDArray[np.uint8], quality: int = 92) -> None:
    """Write an RGB image, whole or not at all; its folder is made where it is missing.

    Raises ImageError for one that no JPEG, or no file of that name, can hold; OSError where the
    disk takes no file.
    """
    try:
        # made in memory: Pillow does not look whether all that it writes to a file was taken
        jpeg = io.BytesIO()
        Image.fromarray(image).save(jpeg, format="JPEG", quality=quality)
        write_bytes(path, jpeg.getvalue())
    except OSError as error:
        if error.errno in FULL + SHUT:
            raise
        raise ImageError(f"{path}: cannot be written as JPEG: {error}") from error
