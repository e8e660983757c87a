"""Build the documentation site in build/site: `python docs/build_site.py`, or `make docs`.

The pages are laid out in build/pages as they lie in the repository, so that their links are the
same there, on a code host and in the site. Notebooks are run, and become pages with their output.
mermaid, which draws the networks' diagrams, comes from npm once, so that no page fetches anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"
COPIED = ("*.md", "docs/**/*", "examples/*", "src/poised/models/*.md", "data/samples/*")
SUFFIXES = (".md", ".jpg", ".png", ".svg", ".css", ".ipynb")
MERMAID = "11.17.2"


def lay_out() -> None:
    """Fill build/pages; notebooks are run in examples/ of it."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for pattern in COPIED:
        for path in ROOT.glob(pattern):
            if path.is_file() and path.suffix in SUFFIXES:
                target = PAGES / path.relative_to(ROOT)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    for notebook in sorted((PAGES / "examples").glob("*.ipynb")):
        command = ["nbconvert", "--log-level=WARN", "--to", "markdown", "--execute", notebook]
        run([sys.executable, "-m", *command], ROOT)
        notebook.unlink()
    shutil.copyfile(mermaid(), PAGES / "mermaid.min.js")


def mermaid() -> Path:
    """mermaid.min.js of the pinned version, fetched by npm where it is not there yet."""
    file = ROOT / "build" / f"mermaid-{MERMAID}.min.js"
    if not file.is_file():
        if shutil.which("npm") is None:
            sys.exit(f"npm is needed once, to fetch mermaid {MERMAID}, or the file itself: {file}")
        run(["npm", "pack", "--silent", f"mermaid@{MERMAID}"], file.parent)
        packed = file.parent / f"mermaid-{MERMAID}.tgz"
        with tarfile.open(packed) as archive:
            inside = archive.extractfile("package/dist/mermaid.min.js")
            assert inside is not None
            file.write_bytes(inside.read())
        packed.unlink()
    return file


def run(command: list[str | Path], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True)


if __name__ == "__main__":
    os.environ["NO_MKDOCS_2_WARNING"] = "1"  # an advertisement, not about these pages
    lay_out()
    done = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=ROOT)
    sys.exit(done.returncode)
