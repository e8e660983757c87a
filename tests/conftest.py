"""What several tests need: the shared data, skipped by name where it is absent."""

from __future__ import annotations

from pathlib import Path

import pytest

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
