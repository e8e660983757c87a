"""The routes: each says what it takes and answers; errors all have one form."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml
from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles

from poised import __version__
from poised.images import ImageError, check_head
from poised.predict import Predictor
from poised.serve.answers import Health, Models, Poses, has_heatmaps
from poised.serve.around import Around
from poised.serve.limits import Limits, Places, Rates, Refused
from poised.serve.lines import Job, Line
from poised.serve.metrics import Metrics
from poised.serve.openapi import ERRORS, examples, poses_form
from poised.serve.static_site import describe_model, page_folder
from poised.serve.upload import Asked, gone, read_upload

SILENT = dict.fromkeys(("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False)
ABOUT = (
    "Finds people in images and says where their joints are. Images come as bytes: no path or "
    "address that a client names is opened. Nothing is written to disk."
)


class Api:
    """What the routes share: models by name, the first of which is the default, and the limits."""

    def __init__(self, predictors: Mapping[str, Predictor], limits: Limits) -> None:
        self.limits, self.metrics = limits, Metrics()
        self.places, self.rates = Places(limits.queue), Rates(limits.rate)
        self.lines = {
            name: Line(name, predictor, self.metrics) for name, predictor in predictors.items()
        }
        self.default = next(iter(predictors))
        self.listed = [model_answer(name, one) for name, one in predictors.items()]

    def close(self) -> None:
        """When all that came is done."""
        for line in self.lines.values():
            line.close()

    async def predict(self, request: Request) -> JSONResponse:
        """Everybody's pose in one image or several."""
        until = time.monotonic() + self.limits.seconds
        self.rates.take(request.client.host if request.client else "")
        with self.places.one(), self.metrics.under_way.track_inprogress():
            asked = await self._upload(request, until)
            begun = time.monotonic()
            name = self.default if asked.model is None else asked.model
            line = self._line(name, asked)
            await asyncio.to_thread(self._check_heads, asked)
            jobs = [Job(file, image, asked.heatmaps) for file, image in asked.images]
            images = await self._answers(line, jobs, request, until)
        seconds = round(time.monotonic() - begun, 4)
        return JSONResponse({"model": name, "seconds": seconds, "images": images})

    async def models(self) -> JSONResponse:
        """The models there are, the skeleton of each, and which is taken where none is named."""
        return JSONResponse({"models": self.listed, "default": self.default})

    async def health(self) -> JSONResponse:
        """That the server answers."""
        return JSONResponse({"status": "ok"})

    async def tell(self) -> Response:
        """The server's figures for Prometheus."""
        return Response(self.metrics.text(), media_type="text/plain; version=0.0.4")

    async def _upload(self, request: Request, until: float) -> Asked:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                return await read_upload(request, self.limits)
        except TimeoutError as error:
            raise Refused(
                408,
                f"the upload took more than {self.limits.seconds:g} s; send smaller images",
            ) from error

    def _line(self, name: str, asked: Asked) -> Line:
        line = self.lines.get(name)
        if line is None:
            raise Refused(404, f"no model {name!r}; there are: {', '.join(self.lines)}")
        if asked.heatmaps and not has_heatmaps(line.predictor):
            raise Refused(422, f"heatmaps: model {name} has none; leave the field out")
        return line

    def _check_heads(self, asked: Asked) -> None:
        most = self.limits.pixels
        for name, image in asked.images:
            try:
                check_head(image, name, most)
            except ImageError as error:
                status = 413 if "limit of" in str(error) else 422
                raise Refused(status, str(error)) from error

    async def _answers(
        self, line: Line, jobs: list[Job], request: Request, until: float
    ) -> list[dict[str, Any]]:
        """Of each job, in their order; given up when the client leaves, or time is over."""
        for job in jobs:
            line.put(job)
        together = asyncio.create_task(_all(jobs))
        left = asyncio.ensure_future(request.receive())  # comes when the client disconnects
        try:
            await asyncio.wait(
                {together, left},
                timeout=until - time.monotonic(),
                return_when=asyncio.FIRST_COMPLETED,
            )
            if together.done():
                return together.result()
            if left.done():
                raise gone()
            raise Refused(
                504,
                f"not done within {self.limits.seconds:g} s, given up; "
                "send fewer images at once, or try again later",
            )
        finally:
            left.cancel()
            together.cancel()
            for job in jobs:
                job.answer.cancel()  # one that is under way is done, and its answer dropped


async def _all(jobs: list[Job]) -> list[dict[str, Any]]:
    return [await asyncio.wrap_future(job.answer) for job in jobs]


def create_app(api: Api) -> Around:
    """The application that answers for it."""
    app = FastAPI(
        title="poised",
        description=ABOUT,
        version=__version__,
        docs_url=None,  # they would load scripts from elsewhere
        redoc_url=None,
        telemetry=SILENT,  # whatever the environment asks for
    )
    app.add_api_route(
        "/v1/predict", api.predict, methods=["POST"], response_model=Poses,
        openapi_extra=poses_form(api.limits.images), responses=ERRORS | examples("predict"),
        summary="Poses", operation_id="predict",
    )  # fmt: skip
    app.add_api_route(
        "/v1/models", api.models, response_model=Models, responses=examples("models"),
        summary="Models", operation_id="models",
    )  # fmt: skip
    app.add_api_route(
        "/healthz", api.health, response_model=Health, responses=examples("health"),
        summary="Health", operation_id="health",
    )  # fmt: skip
    app.add_api_route(
        "/metrics", api.tell, response_class=Response, responses=examples("metrics"),
        summary="Figures", operation_id="metrics",
    )  # fmt: skip
    app.add_api_route("/", _page, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=page_folder()))
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException.__base__, _http_error)  # the router's own too
    app.add_exception_handler(Exception, _broken)
    return Around(app, api.metrics)


async def _page() -> Response:
    return FileResponse(page_folder() / "index.html")


async def _refused(request: Request, error: Refused) -> JSONResponse:
    return failed(error.status, str(error), error.headers)


async def _http_error(request: Request, error: HTTPException) -> JSONResponse:
    """The router's: no such path, or not by that method."""
    method, path = request.method, request.url.path[:200]
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"  # see around.Around
    return failed(error.status_code, f"{method} {path}: {error.detail}", headers)


async def _broken(request: Request, error: Exception) -> JSONResponse:
    """Ours; the traceback goes to the log."""
    return failed(500, "the server failed, which is its own fault; its log says more")


def failed(status: int, error: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """An error in the one form that all have."""
    return JSONResponse({"error": error, "status": status}, status, headers)


def model_answer(name: str, predictor: Predictor) -> dict[str, Any]:
    """An `answers.Model` of it."""
    path = predictor.estimator.session.path
    return describe_model(name, _uses().get(name, path.name), predictor)


def _uses() -> dict[str, str]:
    """What the known models are for, by name."""
    text = resources.files("poised").joinpath("models", "known.yaml").read_text("utf-8")
    return {row["name"]: row.get("use", row["name"]) for row in yaml.safe_load(text)}
