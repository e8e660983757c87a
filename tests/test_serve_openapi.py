"""schemathesis asks the server whatever its OpenAPI allows, and what it does not."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("schemathesis", reason="needs poised[dev]")
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import colour_model
from PIL import Image
from schemathesis.specs.openapi.checks import negative_data_rejection
from served import served

from poised import Predictor
from poised.serve.answers import Health, Models, Poses
from poised.serve.limits import Limits
from poised.serve.openapi import examples


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Small pictures that can be read."""
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    file = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), draw(st.integers(0, 255)), np.uint8)).save(
        file, draw(st.sampled_from(["PNG", "JPEG", "BMP", "GIF"]))
    )
    return file.getvalue()


schemathesis.openapi.format("binary", images())


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    model = colour_model(tmp_path_factory.mktemp("model") / "coco17.onnx")
    predictor = Predictor.load(model, detector=None, flip=False, threads=1)
    with served({"coco17": predictor}, Limits(rate=0)) as server:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


def check(schema: Any, mode: schemathesis.GenerationMode, examples: int) -> None:
    """Every route is asked so often; each answer must be one that OpenAPI states for it.

    What OpenAPI forbids need not be refused: in a form [] is a field left out and 5 is "5".
    """
    if mode is schemathesis.GenerationMode.NEGATIVE:
        schema = schema.include(path="/v1/predict")  # the others take nothing that could be wrong
    for found in schema.get_all_operations():

        @settings(
            max_examples=examples, deadline=None, database=None, derandomize=True,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=found.ok().as_strategy(generation_mode=mode))
        def holds(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=[negative_data_rejection])

        holds()


MODES = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]


@pytest.mark.parametrize("mode", MODES)
def test_what_openapi_says_holds(schema: Any, mode: schemathesis.GenerationMode) -> None:
    check(schema, mode, 15)


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_what_openapi_says_holds_long(schema: Any, mode: schemathesis.GenerationMode) -> None:
    check(schema, mode, 500)


def test_what_openapi_shows_has_the_shapes_that_it_states() -> None:
    """Its examples are what its models accept, and there is one of each route."""
    for route, shape in (("predict", Poses), ("models", Models), ("health", Health)):
        content = examples(route)[200]["content"]["application/json"]
        shape.model_validate(content["example"], strict=True)
