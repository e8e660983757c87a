"""A model as TorchScript, which C++ programs and torch run without this package; and back."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from poised.files import written_whole
from poised.model_fields import ModelError, parse_own
from poised.reading import json_text

NOTES = "poised.json"  # the file inside that holds the metadata


@contextmanager
def without_remarks() -> Iterator[None]:
    """Torch says that its old exporters are old, which are meant, and that what a trace decides by
    an image's sides stays as it was, which it may."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield


def write_torchscript(
    module: nn.Module, images: Tensor, metadata: Mapping[str, Any], out: Path
) -> Path:
    """Trace a module on images (N, ...), N above 1, and write it; any N is taken later."""
    with torch.no_grad(), without_remarks(), written_whole(out) as partial:
        traced = torch.jit.trace(module, (images,), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(partial), _extra_files={NOTES: json_text(metadata)})
    return out


def open_torchscript(path: Path, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """The module of such a file and its metadata; raises ModelError for any other.

    TorchScript is code and is run as such: not Python, but whatever torch's own operations can
    do. Open only what comes from somebody you trust. A pickled checkpoint, which can run any
    Python, is refused before it is read.
    """
    archive = zipfile.ZipFile(path) if zipfile.is_zipfile(path) else None
    names = set() if archive is None else {name.partition("/")[2] for name in archive.namelist()}
    if not any(name.startswith("code/") for name in names):
        raise ModelError(
            f"{path}: not TorchScript; if it is a checkpoint (torch.save), which is a pickle and "
            "is not opened here, `poised import-weights` reads the known ones"
        )
    if f"extra/{NOTES}" not in names:
        raise ModelError(f"{path}: TorchScript that `poised export` did not write: not known here")
    notes = {NOTES: ""}
    with without_remarks():
        module: nn.Module = torch.jit.load(  # type: ignore[no-untyped-call]
            str(path), map_location=device, _extra_files=notes
        )
    found: Any = notes[NOTES]  # torch gives bytes
    text = found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found)
    return module.eval(), parse_own(text, str(path))
