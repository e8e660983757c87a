"""Sound files made unsound: their bytes, and the values of what is JSON or YAML."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

Rng = np.random.Generator
DEEP: Any = []
for _ in range(60):
    DEEP = [DEEP]
ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63, -(2**63), 10**30, 10**400),
    *(0.5, -0.5, -0.0, 1e-320, 1e38, 1e300, float("inf"), float("nan")),
    *("", "x", "0", "nan", "../../../etc/passwd", "/etc/passwd", "a\x00b", "\ud800", "x" * 5000),
    *([], {}, [[]], [None], {"": None}, [1, 2, 3], {"x": [0]}, DEEP),
)
WORDS = (
    *(b"\x00" * 4, b"\xff" * 4, b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x80"),
    *(b"NaN", b"Infinity", b"1e999", b"-1", b"9" * 5000, b"null", b"[" * 2000, b"{", b"}", b'"'),
    *(b"\xef\xbb\xbf", b"\xff\xfe", b"\r\n", b",", b" ", b"&a", b"*a", b"!!python/name:os.system"),
    *(b"2020-13-45", b"0x", b"1:99", b"<<: 1\n", b"? []\n", b"../", b"%s", b"\\", b"\n\n"),
)


def mutated_bytes(data: bytes, rng: Rng) -> bytes:
    """One to four changes: bits, bytes, words, parts taken out, doubled, moved, the end cut off."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 5))):
        size = max(1, len(changed))
        at = int(rng.integers(size))
        if rng.random() < 0.3:  # where formats say what they are, and how long
            at = int(rng.integers(min(size, 200)))
        end = min(size, at + int(2 ** rng.uniform(0, 8)))
        kind = int(rng.integers(8))
        if kind == 0 and changed:
            changed[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and changed:
            changed[at] = int(rng.integers(256))
        elif kind == 2:
            del changed[at:end]
        elif kind == 3:
            changed[at:at] = changed[at:end]
        elif kind == 4:
            changed[at:at] = rng.bytes(end - at)
        elif kind == 5:
            word = WORDS[int(rng.integers(len(WORDS)))]
            changed[at : at + len(word) * int(rng.integers(2))] = word
        elif kind == 6:
            to = int(rng.integers(size))
            changed[to : to + end - at] = changed[at:end]
        elif rng.random() < 0.5:
            del changed[at:]
    return bytes(changed)


def mutated_value(value: Any, rng: Rng) -> Any:
    """One or two changes to a tree of dicts and lists: places made odd, removed, doubled, swapped.

    A place of the upper levels is as likely as one of the many below them.
    """
    root = [copy.deepcopy(value)]
    for _ in range(int(rng.integers(1, 3))):
        places = list(_places(root, 0))
        depth = int(rng.integers(1 + max(level for level, _, _ in places)))
        chosen = [place for place in places if place[0] == depth]
        _, holder, key = chosen[int(rng.integers(len(chosen)))]
        kind = int(rng.integers(8))
        if kind == 0 and holder is not root:
            del holder[key]
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif kind == 2:
            _, other, there = places[int(rng.integers(len(places)))]
            holder[key] = copy.deepcopy(other[there])
        elif kind == 3:
            holder[key] = [holder[key]]
        elif kind == 4 and isinstance(holder, dict):
            holder[("x", "name", "")[int(rng.integers(3))]] = holder.pop(key)
        elif kind == 5 and _number(holder[key]):
            holder[key] *= (-1, 0, 1000, 0.001, 1e30)[int(rng.integers(5))]
        elif kind == 6 and isinstance(holder[key], str):
            holder[key] = holder[key] + ("/../x", "\n", " ", "\u00e9", "x" * 300)[rng.integers(5)]
        else:
            holder[key] = copy.deepcopy(ODD[int(rng.integers(len(ODD)))])
    return root[0]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e100


def _places(holder: Any, level: int) -> Any:
    """(level, holder, key or index) of every value in a tree."""
    keys: Any = range(len(holder)) if isinstance(holder, list) else list(holder)
    for key in keys:
        yield level, holder, key
        if isinstance(holder[key], dict | list):
            yield from _places(holder[key], level + 1)
