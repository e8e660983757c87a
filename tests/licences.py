"""`make licences`: the licence of everything that `pip install poised` brings, by its metadata.

Fails on copyleft and non-commercial ones, and on what says none, but for EXCEPTIONS.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

REFUSED = re.compile(
    r"\bA?GPL|General Public License|non-?commercial|\bNC\b|BUSL|Business Source", re.IGNORECASE
)
LESSER = re.compile(r"\bLGPL[\w.+-]*|(GNU )?Lesser General Public License[^;]*", re.IGNORECASE)
EXCEPTIONS: dict[str, str] = {}  # a package's name: why it may stay


def closure(name: str) -> dict[str, metadata.Distribution]:
    """A package and what it requires, and so on, without extras; of what is installed."""
    found: dict[str, metadata.Distribution] = {}
    todo = [name]
    while todo:
        key = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if key in found:
            continue
        try:
            found[key] = metadata.distribution(key)
        except metadata.PackageNotFoundError:
            continue  # of another system or version of Python
        for line in found[key].requires or ():
            if "extra ==" not in line:
                todo.append(re.split(r"[^\w.-]", line)[0])
    return found


def licence(package: metadata.Distribution) -> str:
    """What it says: an expression, classifiers, or the field's first line."""
    told = package.metadata.get_all("License-Expression") or []
    lines = package.metadata.get_all("Classifier") or []
    told += [line.rpartition(" :: ")[2] for line in lines if line.startswith("License ::")]
    if not told:
        text = (package.metadata.get("License") or "").strip()
        told = text.splitlines()[:1]
    return "; ".join(told)


def fault(name: str, said: str) -> str:
    """Why a package cannot be of the core; "" where it can. The lesser GPL is for linking."""
    if name in EXCEPTIONS:
        return ""
    if not said:
        return f"{name} says no licence"
    if REFUSED.search(LESSER.sub("", said)):
        return f"{name}: {said}"
    return ""


def main() -> int:
    faults = []
    for name, package in sorted(closure("poised").items()):
        said = licence(package)
        print(f"{name:30} {said}{'  ' + EXCEPTIONS[name] if name in EXCEPTIONS else ''}")
        faults.append(fault(name, said))
    for line in filter(None, faults):
        print(f"refused: {line}", file=sys.stderr)
    return 1 if any(faults) else 0


if __name__ == "__main__":
    sys.exit(main())
