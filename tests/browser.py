"""A headless Chromium and a small server for the page's tests; skips where a part is absent."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PHONE, DESKTOP = (390, 844), (1280, 900)
KINDS = {".png": "image/png", ".jpg": "image/jpeg"}
WAIT = 60.0  # seconds at most, of a machine that is busy
DROP = """
const files = arguments[0].map(([name, type, base64]) => {
  const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));
  return new File([bytes], name, { type });
});
const carried = new DataTransfer();
for (const file of files) carried.items.add(file);
const kind = arguments[1];
const target = document.body;
if (kind === "drop") {
  target.dispatchEvent(new DragEvent(kind, { dataTransfer: carried, bubbles: true }));
} else {
  target.dispatchEvent(new ClipboardEvent(kind, { clipboardData: carried, bubbles: true }));
}
"""


class Quiet(SimpleHTTPRequestHandler):
    """Files of a folder, without a line for each on stderr."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(folder: Path, handler: type[Quiet] = Quiet) -> Iterator[str]:
    """The address of a folder while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def chromium(downloads: Path, net_log: Path | None = None) -> Iterator[Browser]:
    """A browser of a profile that is gone afterwards; its camera shows a test picture.

    net_log: a file that has every request of every process when the block has ended.
    """
    driver = pytest.importorskip("selenium.webdriver", reason="needs selenium for the browser")
    chrome, control = shutil.which("chromium"), shutil.which("chromedriver")
    if chrome is None or control is None:
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    options = driver.ChromeOptions()
    options.binary_location = chrome
    for switch in (
        *("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-background-networking"),
        *("use-fake-ui-for-media-stream", "use-fake-device-for-media-stream"),
        *("disable-component-update", "no-first-run", "force-color-profile=srgb"),
    ):
        options.add_argument(f"--{switch}")
    if net_log is not None:
        options.add_argument(f"--log-net-log={net_log}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    opened = driver.Chrome(options=options, service=driver.ChromeService(control))
    try:
        opened.set_script_timeout(WAIT)
        yield Browser(opened, downloads)
    finally:
        opened.quit()


class Browser:
    """What a test does with the page."""

    def __init__(self, driver: Any, downloads: Path) -> None:
        self.driver, self.downloads = driver, downloads

    def open(self, address: str, size: tuple[int, int] = DESKTOP, dark: bool = False) -> None:
        """The page afresh, in a window of that many CSS pixels; its engine is ready."""
        self.address = address
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1}
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride", {**metrics, "mobile": size == PHONE}
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        self.driver.get(address)
        self.until(lambda: self.text("#status") in ("Ready.", "Not ready."), "the page to be ready")

    def run(self, script: str, *given: Any) -> Any:
        """What a script returns."""
        return self.driver.execute_script(script, *given)

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """The first value of `true` that is so."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.ui import WebDriverWait

        try:
            return WebDriverWait(self.driver, WAIT, 0.05).until(lambda _: true())
        except TimeoutException:
            said = (self.text("#status"), self.text("#errors"), self.log())
            raise AssertionError(f"waited in vain for {what}; the page says {said}") from None

    def one(self, selector: str) -> Any:
        """The first element of a CSS selector."""
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        """The words of an element, seen or not."""
        found: str = self.run("return document.querySelector(arguments[0]).textContent", selector)
        return found

    def bring(self, *files: tuple[str, str, bytes], way: str = "drop") -> None:
        """Drop, or paste, files: (name, type, bytes)."""
        coded = [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files]
        self.run(DROP, coded, way)

    def choose(self, select: str, value: str) -> None:
        """A value of a select, as if by hand."""
        self.change(select, value, "change")

    def change(self, selector: str, value: str, event: str) -> None:
        self.run(
            "const [selector, value, event] = arguments;"
            "const one = document.querySelector(selector); one.value = value;"
            "one.dispatchEvent(new Event(event, {bubbles: true}))",
            *(selector, value, event),
        )

    def downloaded(self, button: str, name: str) -> bytes:
        """The file that a button gives."""
        path = self.downloads / name
        path.unlink(missing_ok=True)
        self.one(button).click()
        self.until(path.is_file, f"the file {name}")
        return path.read_bytes()

    def colour(self, x: float, y: float, place: int = 0) -> list[int]:
        """The RGBA of a view's canvas at a point of it, as shares of its sides."""
        found: list[int] = self.run(
            "const [x, y, place] = arguments;"
            "const canvas = document.querySelectorAll('#views canvas')[place];"
            "const [left, top] = [Math.floor(x * canvas.width), Math.floor(y * canvas.height)];"
            "const often = {willReadFrequently: true};"
            "const context = new OffscreenCanvas(1, 1).getContext('2d', often);"
            "context.drawImage(canvas, -left, -top);"
            "return Array.from(context.getImageData(0, 0, 1, 1).data)",
            *(x, y, place),
        )
        return found

    def estimated(self, path: Path, model: str, heatmaps: bool = False) -> Any:
        """What the page's engine answers of an image file."""
        found = self.driver.execute_async_script(
            "const [root, base64, type, name, model, heatmaps, done] = arguments;"
            "const bytes = Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));"
            "import(root + 'static/engine.js').then(({ predict }) =>"
            "  predict(new Blob([bytes], { type }), model, { name, heatmaps }))"
            ".then(done, (error) => done({ error: error.message }))",
            *(self.address, base64.b64encode(path.read_bytes()).decode(), KINDS[path.suffix]),
            *(path.name, model, heatmaps),
        )
        assert "error" not in found, found
        return found

    def log(self) -> list[str]:
        """What the console has been told since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requested(self) -> list[str]:
        """The addresses asked for since it was last asked, by the page and its workers."""
        messages = [json.loads(e["message"])["message"] for e in self.driver.get_log("performance")]
        sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [one["request"]["url"] for one in sent]
