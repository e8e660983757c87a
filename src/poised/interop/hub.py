"""Models to and from the Hugging Face Hub, with their card: only when it is asked for.

Nothing here is imported by any other command, and no name of a model is ever looked up there: what
is pulled is a folder of files, whose model is given as a file (`--model`). Pickles are not pulled.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from poised.files import link_or_copy
from poised.runtime import Session, find_model

MODELS = (".onnx", ".xml", ".safetensors")  # ends of the files that `--model` takes
PULLED = ["*.onnx", "*.xml", "*.bin", "*.safetensors", "*.yaml", "*.md", "skeleton.json"]
CARD = "README.md"
LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)[^)]*\)")  # into our own folders


class HubError(ValueError):
    """What the Hub refused, or that it cannot be reached: names the repository and what to do."""


def push(
    model: str | Path,
    repository: str,
    *,
    licence: str | None = None,
    private: bool = True,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Send a model, and its card, to a repository, in one commit; the commit's address.

    model: a bundled name, or a file: with an .xml goes its .bin, with any model the YAML of its
    name that says how it is fed. The repository ("owner/name") is made if there is none, private
    unless that is said otherwise. licence: the Hub's name of it, such as apache-2.0. token: None
    for that of `hf auth login`. endpoint: None for huggingface.co. Raises ModelError, HubError.
    """
    from huggingface_hub import HfApi

    path = find_model(model)
    text = card(path, licence)
    with TemporaryDirectory() as folder, _reached(repository):
        for file in _files(path):
            link_or_copy(file.resolve(), Path(folder) / file.name)
        (Path(folder) / CARD).write_text(text, encoding="utf-8")
        hub = HfApi(endpoint=endpoint, token=token)
        hub.create_repo(repository, private=private, exist_ok=True)
        message = f"{path.name}, by poised"
        done = hub.upload_folder(repo_id=repository, folder_path=folder, commit_message=message)
        return str(done.commit_url)


def pull(
    repository: str,
    out: Path,
    *,
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> list[Path]:
    """Bring a repository's models, and what belongs to them, into a folder; the models' files.

    revision: a branch, tag or commit; None for the main branch. Raises HubError, also where no
    file there is a model.
    """
    from huggingface_hub import HfApi

    with _reached(repository):
        hub = HfApi(endpoint=endpoint, token=token)
        # asked first, as snapshot_download takes a folder that is there for the answer, offline
        there = hub.model_info(repository, revision=revision)
        hub.snapshot_download(repository, revision=there.sha, local_dir=out, allow_patterns=PULLED)
    names = [file.rfilename for file in there.siblings or ()]
    models = [out / name for name in sorted(names) if Path(name).suffix in MODELS]
    if not models:
        raise HubError(f"{repository}: no model in it; models end in {', '.join(MODELS)}")
    return models


def card(path: Path, licence: str | None = None) -> str:
    """A model's card, as the Hub reads it: fields, then the text.

    The text is <model>.md beside the file, without the links into folders that the Hub has not,
    else what the file's own metadata say.
    """
    fields: dict[str, Any] = {"library_name": "poised", "pipeline_tag": "keypoint-detection"}
    fields["tags"] = ["human-pose-estimation", "top-down"]
    if licence is not None:
        fields = {"license": licence} | fields
    beside = path.with_suffix(".md")
    text = beside.read_text("utf-8") if beside.is_file() else _described(path)
    use = f"\n```sh\npoised predict photos/ --model {path.name} --out poses\n```\n"
    head = yaml.safe_dump(fields, sort_keys=False)
    return f"---\n{head}---\n" + LINK.sub(r"\1", text) + use


def _described(path: Path) -> str:
    notes = Session(path).metadata
    lines = [f"# {notes.get('name', path.stem)}", ""]
    skeleton = notes.get("skeleton")
    if isinstance(skeleton, dict):
        lines.append(f"Keypoints ({skeleton['name']}): {', '.join(skeleton['keypoints'])}.")
    told = [f"{name} {notes[name]}" for name in ("input_wh", "padding", "crop", "decoder", "stride")
            if name in notes]  # fmt: skip
    if told:
        lines += ["", f"How it is fed: {', '.join(told)}; the file's metadata say all of it."]
    return "\n".join(lines) + "\n"


def _files(path: Path) -> Iterator[Path]:
    """A model's file, and those of its name that it cannot do without."""
    yield path
    for suffix in (".bin",) if path.suffix == ".xml" else ():
        yield path.with_suffix(suffix)
    if path.with_suffix(".yaml").is_file():
        yield path.with_suffix(".yaml")


@contextmanager
def _reached(repository: str) -> Iterator[None]:
    """What the Hub's library raises, as one line that says what to do."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    try:
        yield
    except (HfHubHTTPError, HTTPError, OfflineModeIsEnabled, ConnectionError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise HubError(
            f"{repository}: the Hub refused it, or cannot be reached: {said}. All else works "
            "without it: a model on this machine is given by --model FILE"
        ) from error
