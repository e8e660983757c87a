"""A stand-in for the Hugging Face Hub on this machine: repositories as dictionaries of files."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SHA = "0" * 39 + "1"  # of the one commit that there is


@dataclass
class Hub:
    """repositories: name -> file name -> bytes; private: those made so; asked: each request."""

    endpoint: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    commits: int = 0


@contextmanager
def hub() -> Iterator[Hub]:
    """The Hub's API as `push` and `pull` use it, on a free port of 127.0.0.1."""
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def _answer(self, value: object, status: int = 200) -> None:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Repo-Commit", SHA)
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_POST(self) -> None:
            path = urlsplit(self.path).path
            state.asked.append(f"POST {path}")
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers["Content-Length"]))
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = "/".join(filter(None, (asked.get("organization"), asked["name"])))
                state.repositories.setdefault(name, {})
                if asked.get("private") or asked.get("visibility") == "private":
                    state.private.add(name)
                self._answer({"url": f"{state.endpoint}/{name}", "name": name, "id": name})
            elif path == "/api/validate-yaml":
                self._answer({"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = json.loads(body)["files"]
                modes = [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                         for f in files]  # fmt: skip
                self._answer({"files": modes})
            elif "/commit/" in path:
                name = path.removeprefix("/api/models/").partition("/commit/")[0]
                for line in body.splitlines():
                    record = json.loads(line)
                    if record["key"] == "file":
                        content = base64.b64decode(record["value"]["content"])
                        state.repositories[name][record["value"]["path"]] = content
                state.commits += 1
                url = f"{state.endpoint}/{name}/commit/{SHA}"
                self._answer({"commitUrl": url, "commitOid": SHA, "success": True})
            else:
                self._answer({"error": "no such address"}, 404)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            state.asked.append(f"{self.command} {path}")
            if path.startswith("/api/models/"):
                rest = path.removeprefix("/api/models/")
                name = "/".join(rest.split("/")[:2])
                files = state.repositories.get(name)
                if files is None:
                    self._answer({"error": "Repository not found"}, 404)
                elif "/tree/" in rest:
                    of_file = {"type": "file", "oid": SHA}
                    self._answer([of_file | {"path": p, "size": len(d)} for p, d in files.items()])
                else:
                    siblings = [{"rfilename": path} for path in files]
                    self._answer({"id": name, "sha": SHA, "siblings": siblings, "private": True,
                                  "tags": [], "downloads": 0, "likes": 0})  # fmt: skip
            else:
                name, _, rest = path.lstrip("/").partition("/resolve/")
                file = rest.partition("/")[2]
                data = state.repositories.get(name, {}).get(file)
                self._answer({"error": "no such file"}, 404) if data is None else self._answer(data)

        do_HEAD = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.endpoint = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield state
        finally:
            server.shutdown()
