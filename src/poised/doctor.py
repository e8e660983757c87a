"""What is here and what is missing: the machine, engines and their precision, models, extras."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from poised.at_once import cores
from poised.bundled import bundled_models
from poised.runtime import BROUGHT_BY, Engine, ModelError, Session

CPUINFO = Path("/proc/cpuinfo")
FASTER = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
PACKAGE = re.compile(r"([\w.-]+).*; extra == ['\"](\w+)['\"]")  # of a requirement
SMALLEST = "person"  # of the bundled models


@dataclass(frozen=True)
class Finding:
    """About one thing. ok: it works; mend: the command that brings it where it does not.

    needed: by every prediction.
    """

    thing: str
    found: str
    ok: bool = True
    mend: str = ""
    needed: bool = False


def findings() -> Iterator[Finding]:
    """Of this machine and installation. Nothing is fetched or written; every model is run once."""
    yield Finding("poised", f"{metadata.version('poised')} on Python {platform.python_version()}")
    yield Finding("machine", f"{_told('model name')}, {cores()} of {os.cpu_count()} cores to use")
    flags = _told("flags").split()
    yield Finding("instructions", " ".join(name for name in FASTER if name in flags) or "not told")
    for engine in BROUGHT_BY:
        yield _engine(engine)
    for name in bundled_models():
        yield _model(name)
    for extra, packages in extras().items():
        missing = [package for package in packages if not _installed(package)]
        found = f"missing: {', '.join(missing)}" if missing else "installed"
        yield Finding(f"poised[{extra}]", found, not missing, f"pip install 'poised[{extra}]'")


def extras() -> dict[str, list[str]]:
    """The packages that each extra brings, by the installed package's own word."""
    found: dict[str, list[str]] = {}
    for requirement in metadata.requires("poised") or ():
        named = PACKAGE.match(requirement)
        if named is not None and named[1] != "poised":  # that of another extra
            found.setdefault(named[2], []).append(named[1])
    return found


def _engine(engine: Engine) -> Finding:
    thing, mend = f"engine {engine}", f"pip install '{BROUGHT_BY[engine]}'"
    needed = BROUGHT_BY[engine] == "poised"
    try:
        session = Session(SMALLEST, engine)
        _run(session)
    except ModelError as error:
        return Finding(thing, str(error), False, mend, needed)
    return Finding(thing, f"runs {SMALLEST}, computes in {session.precision}", needed=needed)


def _model(name: str) -> Finding:
    try:
        session = Session(name)
        _run(session)
    except ModelError as error:
        again = "pip install --force-reinstall poised"
        return Finding(f"model {name}", str(error), False, again, needed=True)
    size = session.path.stat().st_size / 1e6
    return Finding(f"model {name}", f"runs by {session.engine}, {size:.1f} MB", needed=True)


def _run(session: Session) -> None:
    """Once, on an empty image."""
    width, height = session.metadata["input_wh"]
    session.run(np.zeros((1, 3, height, width), np.float32))


def _told(field: str) -> str:
    """What the system tells of its processor, or what Python knows."""
    text = CPUINFO.read_text("utf-8") if CPUINFO.is_file() else ""
    line = re.search(rf"^{field}\s*:(.*)$", text, re.MULTILINE)
    return line[1].strip() if line else platform.processor() or platform.machine()


def _installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
