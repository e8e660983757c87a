"""What several tests need: the shared data, skipped by name where it is absent."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from browser import Browser

# what tests hold equal is so in fp32; some processors would compute in bf16 (test_precision.py)
os.environ["POISED_EXACT"] = "1"
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and reference outputs beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the data folder {SHARED.name}/ beside the checkout; it is absent")
    return SHARED


@pytest.fixture
def ten(shared: Path, tmp_path: Path) -> Path:
    """Ten of LSPET's people."""
    from scipy.io import loadmat, savemat

    root = tmp_path / "lspet"
    root.mkdir()
    (root / "images").symlink_to(shared / "data" / "lspet" / "images")
    joints = loadmat(shared / "data" / "lspet" / "joints.mat")["joints"][..., :10]
    savemat(root / "joints.mat", {"joints": joints})
    return root


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pose model's file that finds coloured dots."""
    from models import colour_model

    return colour_model(tmp_path_factory.mktemp("model") / "dots.onnx")


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures and a model of it, see `folder_runs.make_given`."""
    from folder_runs import make_given

    folder = tmp_path_factory.mktemp("given")
    make_given(folder)
    return folder


@pytest.fixture(scope="session")
def undisturbed(given: Path) -> Path:
    """A run of `given` that nobody disturbed."""
    from folder_runs import run

    code, said = run(given, given / "undisturbed")
    assert code == 1, said
    return given / "undisturbed"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    from browser import chromium

    with chromium(tmp_path_factory.mktemp("downloads")) as opened:
        yield opened


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the page is, on a stub of the server."""
    from browser import served
    from stub_server import Stub

    from poised.serve.static_site import page_folder

    with served(page_folder(), Stub) as where:
        yield where
