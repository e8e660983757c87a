"""`poised`, watched: what it opens to write, makes, moves and removes, and where it would connect.

guarded.py ALLOWED ARGUMENTS...   ALLOWED: folders, joined by the system's path separator, in which
it may write. Anything else is said at the end, and the exit code is then 3.
"""

import os
import sys
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CHANGES = {"os.mkdir": 1, "os.remove": 1, "os.rmdir": 1, "os.rename": 2, "os.link": 2}
CHANGES |= {"os.symlink": 2, "os.truncate": 1, "os.chmod": 1}
RELATIVE = ("os.mkdir", "os.remove", "os.rmdir")  # may be so to an opened folder, told last
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
allowed: list[str] = []  # folders
known: list[tuple[str, str]] = []  # addresses and ports that may be asked
seen: list[str] = []


def watch(event: str, details: tuple[Any, ...]) -> None:
    asked = details[1] if event in ("socket.connect", "socket.sendto") else details[:2]
    if event in NETWORK and tuple(map(str, asked[:2])) not in known:
        seen.append(f"{event} {asked}")
        raise OSError("there is no network here")
    names = details[: CHANGES.get(event, 0)]
    if event == "open" and isinstance(details[2], int) and details[2] & WRITES:
        names = details[:1]
    for name in names:
        if isinstance(name, str | bytes | os.PathLike):
            folder = details[-1] if event in RELATIVE and details[-1] != -1 else None
            start = "" if folder is None else f"/proc/self/fd/{folder}"
            place = os.path.realpath(os.path.join(start, os.fsdecode(name)))
            if not place.startswith((*allowed, "/dev/null", "/dev/shm")):
                seen.append(f"{event} {place}")


def guard(folders: str, ports: str = "") -> None:
    """From now on, in this process; ports: of this machine, that may be asked."""
    allowed.extend(os.path.realpath(folder) for folder in folders.split(os.pathsep))
    known.extend(("127.0.0.1", port) for port in ports.split(os.pathsep) if port)
    sys.addaudithook(watch)


if __name__ == "__main__":
    from poised.cli import app

    guard(sys.argv.pop(1))
    try:
        app()
    finally:
        if seen:
            print("outside:", *dict.fromkeys(seen), sep="\n", file=sys.stderr)
            os._exit(3)
