"""schemathesis asks the server whatever its OpenAPI allows, and what it does not."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import pytest

for needed in ("fastapi", "prometheus_client", "python_multipart", "schemathesis", "uvicorn"):
    pytest.importorskip(needed, reason="needs poised[serve] and poised[dev]")
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from models import colour_model
from PIL import Image
from served import served

from poised import Predictor
from poised.serve.limits import Limits
from poised.serve.run import Api


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    model = colour_model(tmp_path_factory.mktemp("model") / "coco17.onnx")
    predictor = Predictor.load(model, detector=None, flip=False, threads=1)
    with served({"coco17": predictor}, Limits(rate=0)) as server:
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{server.port}/openapi.json")


lazy = schemathesis.pytest.from_fixture("schema")
FEW = settings(
    max_examples=8, deadline=None, database=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


@lazy.parametrize()
@FEW
def test_what_openapi_says_holds(case: schemathesis.Case) -> None:
    case.call_and_validate()


@pytest.mark.long
@lazy.parametrize()
@settings(FEW, max_examples=300)
def test_what_openapi_says_holds_long(case: schemathesis.Case) -> None:
    case.call_and_validate()
