"""A folder that any web host can serve: the page, and models that run in the visitor's browser."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from poised.boxes.detector import Detector
from poised.files import folder_written_whole, write_text
from poised.predict import Predictor
from poised.reading import json_text
from poised.runtime import Session

MODELS = ("coco17", "coco17-small")
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
VERSION = "1.30.0"  # of onnxruntime-web, that the tests run
PACK = f"npm pack onnxruntime-web@{VERSION}"
MOST_NPM = 600  # seconds for its 33 MB
NOTICE = """# What this folder is made of

The page and the models are poised's, under the Apache License 2.0.
`runtime/` is onnxruntime-web's, copyright Microsoft Corporation, under the MIT License
(https://github.com/microsoft/onnxruntime).

"""


class StaticSiteError(ValueError):
    """A folder that cannot be made: says what is in the way and what to do."""


def write_static(
    folder: Path,
    models: Sequence[str | Path] = MODELS,
    detector: str | Path = "person",
    *,
    runtime: Path | None = None,
    fetch: bool = False,
) -> list[str]:
    """Write the page and the models, whole or not at all; returns the models' names.

    models, detector: bundled ones, or ONNX files of ours. folder: a new one, or an empty one.
    runtime: onnxruntime-web, the npm package or its unpacked folder; without it, `fetch` lets npm
    bring it, and nothing else here asks the network. Raises StaticSiteError, ModelError, OSError.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise StaticSiteError(f"{folder}: is there already; give a new folder, or remove it first")
    if not models:
        raise StaticSiteError("no model given: name at least one, such as coco17")
    poses = [_pose_model(one) for one in models]
    names = [str(notes["name"]) for notes, _ in poses]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise StaticSiteError(f"two models are named {', '.join(twice)}: give one of them")
    finder = _detector(detector)
    files = [*(notes["file"] for notes, _ in poses), finder[1]]
    alike = sorted({file for file in files if files.count(file) > 1})
    if alike:
        raise StaticSiteError(f"{', '.join(alike)} would be two models: rename one's file")
    with _unpacked(runtime, fetch) as source, folder_written_whole(folder) as made:
        _copy_page(made)
        (made / "runtime").mkdir()
        for name in RUNTIME:
            shutil.copyfile(source / name, made / "runtime" / name)
        for path, file in [*((path, notes["file"]) for notes, path in poses), finder]:
            shutil.copyfile(path, made / str(file))
        listed = {
            "models": [notes for notes, _ in poses],
            "default": names[0],
            "detector": {"file": finder[1], "notes": Session(finder[0]).metadata},
        }
        write_text(made / "models.json", json_text(listed))
    return names


def page_folder() -> Path:
    """Where the page's files are: index.html, which names the others as static/..."""
    return Path(str(resources.files("poised") / "serve" / "page"))


def _copy_page(made: Path) -> None:
    """The page as a host serves it, its engine the one within the browser; and who made what."""
    static, models = made / "static", made / "models"
    shutil.copytree(page_folder(), static)
    (static / "index.html").replace(made / "index.html")
    engine = static / "engine.js"
    write_text(
        engine, engine.read_text(encoding="utf-8").replace("./server.js", "./local/local.js")
    )
    (static / "server.js").unlink()
    models.mkdir()
    told = resources.files("poised") / "models" / "NOTICE.md"
    write_text(models / "NOTICE.md", NOTICE + told.read_text(encoding="utf-8"))


def _pose_model(model: str | Path) -> tuple[dict[str, Any], Path]:
    """What models.json says of a pose model, and its file. StaticSiteError for one of another kind.

    The page decodes heatmaps by the unbiased decoder, in unbiased crops, as our own models have it.
    """
    session = Session(model)
    notes, path = session.metadata, session.path
    wanted = {"kind": "pose", "crop": "unbiased", "decoder": "unbiased", "family": "heatmaps"}
    got = {"family": "heatmaps"} | {name: notes[name] for name in wanted if name in notes}
    wrong = [
        f"{name} {got.get(name)!r}" for name, value in wanted.items() if got.get(name) != value
    ]
    if wrong or path.suffix != ".onnx" or notes.get("bgr") or notes.get("nhwc"):
        raise StaticSiteError(
            f"{path}: {', '.join(wrong) or 'another input'}; the browser runs ONNX files of our "
            "own models alone, with unbiased crops and the unbiased decoder"
        )
    described = describe_model(notes["name"], _description(path), Predictor(session, None))
    return described | {"file": f"models/{path.name}", "notes": notes}, path


def describe_model(name: str, description: str, predictor: Predictor) -> dict[str, Any]:
    """What the page is told of a pose model, by the server and by models.json: `answers.Model`."""
    estimator, skeleton = predictor.estimator, predictor.skeleton
    return {
        "name": name,
        "description": description,
        "input": list(estimator.size),
        "megabytes": round(estimator.session.path.stat().st_size / 1e6, 1),
        "threshold": predictor.threshold,
        "skeleton": {
            "name": skeleton.name,
            "keypoints": list(skeleton.keypoints),
            "limbs": [list(limb) for limb in skeleton.limbs],
            "pairs": [list(pair) for pair in skeleton.pairs],
        },
    }


def _description(path: Path) -> str:
    """The first line of the model's card beside it, without its name."""
    card = path.with_suffix(".md")
    if not card.is_file():
        return path.name
    return card.read_text(encoding="utf-8").splitlines()[0].partition(": ")[2]


def _detector(detector: str | Path) -> tuple[Path, str]:
    """A detector's file and its name on the page. StaticSiteError for one of another kind."""
    found = Detector(detector)
    path = found.session.path
    if found.kind != "own" or path.suffix != ".onnx":
        raise StaticSiteError(
            f"{path}: a detector of the kind {found.kind}; the browser runs our own alone: `person`"
        )
    return path, f"models/{path.name}"


@contextmanager
def _unpacked(runtime: Path | None, fetch: bool) -> Iterator[Path]:
    """A folder with the runtime's files."""
    with tempfile.TemporaryDirectory() as scratch:
        if runtime is None:
            runtime = _fetched(Path(scratch)) if fetch else None
        if runtime is None:
            raise StaticSiteError(
                f"the models need onnxruntime-web to run in a browser: `{PACK}` fetches it; then "
                "give the .tgz, or its unpacked folder, as the runtime"
            )
        if runtime.is_file():
            runtime = _extracted(runtime, Path(scratch))
        places = (runtime / "dist", runtime)
        for place in places:
            if all((place / name).is_file() for name in RUNTIME):
                yield place
                return
        raise StaticSiteError(f"{runtime}: lacks {', '.join(RUNTIME)}; `{PACK}` fetches them")


def _fetched(folder: Path) -> Path:
    """The package, by npm."""
    npm = shutil.which("npm")
    if npm is None:
        raise StaticSiteError(f"npm is not installed; where it is, run `{PACK}` and give its .tgz")
    command = [npm, *PACK.split()[1:], "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=MOST_NPM)
    except subprocess.SubprocessError as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
        raise StaticSiteError(f"`{PACK}` does not work: {said}") from error
    return next(folder.glob("*.tgz"))


def _extracted(package: Path, folder: Path) -> Path:
    """The runtime's files alone, read out of the package."""
    try:
        with tarfile.open(package) as archive:
            for name in RUNTIME:
                file = archive.extractfile(f"package/dist/{name}")
                if file is not None:
                    (folder / name).write_bytes(file.read())
    except (KeyError, tarfile.TarError, EOFError, OSError) as error:
        raise StaticSiteError(
            f"{package}: not npm's onnxruntime-web; `{PACK}` fetches it"
        ) from error
    return folder
