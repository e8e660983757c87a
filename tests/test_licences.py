"""What the core depends on may be used by anybody, for anything."""

from __future__ import annotations

import pytest
from licences import closure, fault, licence


def test_the_core_brings_no_copyleft() -> None:
    found = closure("poised")
    assert {"numpy", "opencv-python-headless", "openvino", "typer"} <= set(found)
    assert not {"torch", "av"} & set(found)
    assert [fault(name, licence(package)) for name, package in found.items()] == [""] * len(found)


@pytest.mark.parametrize(
    ("said", "refused"),
    [
        ("GPL-3.0-only", True),
        ("GNU Affero General Public License v3", True),
        ("AGPLv3+", True),
        ("CC-BY-NC-4.0", True),
        ("Free for non-commercial use", True),
        ("", True),
        ("LGPL-2.1-or-later", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("BSD-3-Clause AND MIT AND Zlib", False),
        ("Apache Software License", False),
    ],
)
def test_a_licence_is_judged_by_what_it_says(said: str, refused: bool) -> None:
    assert bool(fault("x", said)) == refused
