"""What an install brings: the extras, what works without torch, what the built files carry."""

from __future__ import annotations

import ast
import email
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from poised.datasets.coco import to_coco
from poised.datasets.person import Person
from poised.types import Skeleton

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CALLED = {"opencv_python_headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}  # others: as imported
OTHERS_TOOLS = {"fiftyone", "pandas", "polars", "supervision"}  # who asks for their form has them
BY_LIGHTNING = {"mlflow_skinny", "wandb"}  # imported by pytorch_lightning.loggers
MAKERS = ("dev", "docs")  # extras of who works on poised itself
RUN = """
import sys
for name in sys.argv.pop(1).split(","):
    sys.modules[name] = None
from poised.cli import app
app()
"""


def modules(requirements: list[str]) -> set[str]:
    """The names under which the required packages are imported; our own extras' are left out."""
    names = {re.split(r"[^\w.-]", line)[0].lower().replace("-", "_") for line in requirements}
    return {CALLED.get(name, name) for name in names - {"poised"}}


EXTRAS = {name: modules(lines) for name, lines in PROJECT["optional-dependencies"].items()}
SCORING = EXTRAS["eval"] - {"pydantic"}  # which typer may have brought, and needs then
WITHOUT_TRAIN = EXTRAS["train"] | EXTRAS["onnx"] | {"pytorch_lightning", "lightning_fabric"}


def run(without: set[str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`poised ARGUMENTS` in a process of its own where some modules cannot be imported."""
    command = [sys.executable, "-c", RUN, ",".join(sorted(without)), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_extras_bring_what_the_code_imports_and_nothing_else() -> None:
    imported: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(str(node.module))
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
                imported |= {arg.value for arg in node.args if isinstance(arg, ast.Constant)}
    ours = {name.split(".")[0] for name in imported} - sys.stdlib_module_names - {"poised"}
    brought = modules(PROJECT["dependencies"])
    brought |= set().union(*(names for extra, names in EXTRAS.items() if extra not in MAKERS))
    assert ours - brought - OTHERS_TOOLS == set(), "imported, and no extra brings it"
    parts = {part for name in imported for part in name.split(".")}  # loggers.tensorboard
    assert brought - parts - BY_LIGHTNING == set(), "brought, and nobody imports it"


@pytest.mark.parametrize("dataset", ["flic", "lsp", "lspet", "mpii"])
def test_without_scipy_the_data_are_not_blamed(dataset: str, tmp_path: Path) -> None:
    file = {"flic": "examples.mat", "mpii": "mpii_human_pose_v1_u12_1.mat"}.get(dataset)
    (tmp_path / (file or "joints.mat")).write_bytes(b"never looked at")
    part = "matlab-train" if dataset == "mpii" else "test"
    done = run(
        WITHOUT_TRAIN | SCORING,
        *(
            "data",
            "show",
            tmp_path,
            "--out",
            tmp_path / "a.jpg",
            "--dataset",
            dataset,
            "--split",
            part,
        ),
    )
    assert done.returncode == 2
    assert done.stderr.strip() == "Error: this needs scipy: pip install 'poised[eval]'"


@pytest.fixture
def four(tmp_path: Path) -> Path:
    """Four people in two images, a file in COCO form; and their own keypoints as predictions."""
    rng = np.random.default_rng(0)
    people = []
    for number in range(4):
        image = tmp_path / f"{number // 2}.png"
        PIL.Image.new("RGB", (200, 200)).save(image)
        xy = rng.uniform(20, 180, (17, 2)).round(1)
        seen = np.ones(17, np.bool_)
        people.append(Person(image, np.array([10.0, 10, 180, 180]), xy, seen, image_id=number // 2))
    form = to_coco(people, Skeleton.load("coco17"), tmp_path)
    (tmp_path / "truth.json").write_text(json.dumps(form))
    fields = ("image_id", "category_id", "keypoints")
    found = [{**{k: a[k] for k in fields}, "score": 0.5} for a in form["annotations"]]
    (tmp_path / "found.json").write_text(json.dumps(found))
    return tmp_path


def test_scoring_needs_no_torch(four: Path) -> None:
    pytest.importorskip("faster_coco_eval", reason="needs poised[eval]")
    of = ["--data", four, "--dataset", "coco", "--split", "truth.json"]
    found = ["--predictions", four / "found.json"]
    commands: list[list[str | Path]] = [
        ["evaluate", *of, *found, "--out", four / "a.json"],
        ["compare", four / "a.json", four / "a.json"],
        ["report", *of, *found, "--out", four / "page.html"],
        ["report", *of, "--out", four / "page.html"],  # of a model, whose weights lie beside it
        ["data", "check", four, *of[2:]],
        ["data", "convert", four, "--out", four / "again.json", *of[2:]],
        ["recipes", "show", "cpn"],
    ]
    for command in commands:
        done = run(WITHOUT_TRAIN, *command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
    assert json.loads((four / "a.json").read_text())["figures"]["AP"] == pytest.approx(100)


@pytest.mark.parametrize("command", ["evaluate", "report"])
def test_a_core_install_says_which_extra_scores(command: str, four: Path) -> None:
    of = ["--data", four, "--dataset", "coco", "--predictions", four / "found.json"]
    done = run(WITHOUT_TRAIN | SCORING, command, *of, "--out", four / "out")
    assert done.returncode == 2
    assert re.search(r"^Error: this needs \w+: pip install 'poised\[eval\]'$", done.stderr.strip())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel."""
    pytest.importorskip("hatchling", reason="needs poised[dev]")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.tar.gz")), next(folder.glob("*.whl"))


def test_the_sdist_can_do_what_the_readme_says(built: tuple[Path, Path]) -> None:
    """Its two commands, and the files that it names."""
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {"Makefile", "constraints.txt", "pyproject.toml", "README.md", "LICENSE"}
    needed |= {f"data/samples/{path.name}" for path in (ROOT / "data" / "samples").iterdir()}
    needed |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*.py")}
    links = re.findall(r"\]\(((?!https?:)[^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert needed | {link.partition("#")[0] for link in links} <= names
    assert not [name for name in names if name.startswith((".ci", "shared", ".venv"))]


def test_the_packages_page_has_no_broken_link(built: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(built[1]) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        page = email.message_from_bytes(archive.read(name)).get_payload()
    assert "## Two commands" in page
    assert "footballer" not in page  # the picture
    assert re.findall(r"\]\((?!https?:)[^)]*\)", page) == []


def test_the_wheel_carries_models_recipes_and_skeletons(built: tuple[Path, Path]) -> None:
    """Weights twice: ONNX to run, and the network's own to train on and for `--engine torch`."""
    with zipfile.ZipFile(built[1]) as archive:
        names = set(archive.namelist())
    source = ROOT / "src"
    kinds = ("*.py", "*.yaml", "*.onnx", "*.safetensors", "*.md", "py.typed")
    kinds += ("*.html", "*.css", "*.js", "*.svg")  # the page
    files = {p.relative_to(source).as_posix() for kind in kinds for p in source.rglob(kind)}
    assert files == {name for name in names if name.startswith("poised/")}


def test_the_wheel_finds_poses_in_an_environment_of_its_own(
    built: tuple[Path, Path], tmp_path: Path
) -> None:
    """Its packages are those of this environment, but poised is the wheel's, and so is its command.

    The recipes, skeletons and models that the command needs are in the wheel then, and nothing is
    taken from the checkout.
    """
    home = tmp_path / "env"
    venv.create(home, with_pip=False)
    python = home / ("Scripts" if os.name == "nt" else "bin") / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    purelib = Path(_said([python, "-c", where], tmp_path).strip())
    brought = [path for path in sys.path if path.endswith("site-packages")]
    (purelib / "brought.pth").write_text("".join(f"{path}\n" for path in brought))
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    _said([*pip, "install", "--no-deps", "--no-index", "--force-reinstall", built[1]], tmp_path)
    file = _said([python, "-c", "import poised; print(poised.__file__)"], tmp_path)
    assert Path(file.strip()).is_relative_to(purelib)
    sample = ROOT / "data" / "samples" / "messi5.jpg"
    said = _said([python.with_name("poised"), "predict", sample, "--out", "poses"], tmp_path)
    assert "in 1 image" in said
    assert json.loads((tmp_path / "poses" / "poses.json").read_text())
    assert "coco17" in _said([python.with_name("poised"), "models"], tmp_path)


def _said(command: list[str | Path], folder: Path) -> str:
    """What a command says in a folder; nothing of this process's own search path is passed on."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
