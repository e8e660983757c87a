"""A server from its options to its end: the port, the models, the signals."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import uvicorn

from poised.boxes.files import whole_image
from poised.estimate import Estimator
from poised.predict import FEW, Predictor
from poised.serve.app import Api, create_app
from poised.serve.around import LINGER
from poised.serve.connections import patient
from poised.serve.limits import Limits

AT_ONCE = 2048  # connections that wait to be taken by a server that is busy
LISTEN = 0.1  # seconds between two looks whether a signal came


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises ValueError where it cannot."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=AT_ONCE)
    except (OSError, OverflowError) as error:
        number = getattr(error, "errno", None) or 0  # negative of a name that is not found
        reason = os.strerror(number) if number > 0 else str(error)
        raise ValueError(
            f"cannot listen at port {port} of {host}: {reason}; give another --port or --host"
        ) from error


def address(listening: socket.socket) -> str:
    """What to open in a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def load(models: Sequence[str], detector: str, threads: int | None = None) -> dict[str, Predictor]:
    """Predictors by the models' names: a bundled model's own, a file's without its suffix."""
    names = [Path(model).stem if Path(model).is_file() else model for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two models are named {name}; give each once, or rename a file")
    predictors = {
        name: Predictor.load(model, detector=detector, threads=threads)
        for name, model in zip(names, models, strict=True)
    }
    for predictor in predictors.values():
        _warm(predictor)
    return predictors


def _warm(predictor: Predictor) -> None:
    """Compile its networks for few and for many images: the first client waits no longer."""
    black = np.zeros((64, 64, 3), np.uint8)
    for count in (1, FEW * predictor.estimator.session.at_once):
        list(predictor.stream([black] * count))  # of which one may have no answer
        if isinstance(predictor.estimator, Estimator):  # whose detector has seen nobody
            list(predictor.stream([black] * count, [whole_image(black)] * count))


def check_proxy(proxy: str) -> None:
    """Raise ValueError unless it is addresses or networks with commas between, or * for all."""
    for one in [] if proxy == "*" else proxy.split(","):
        try:
            ipaddress.ip_network(one.strip())
        except ValueError as error:
            raise ValueError(
                f"--proxy {proxy}: {error}; give addresses or networks, as 127.0.0.1,10.0.0.0/8"
            ) from error


@contextmanager
def opened(predictors: dict[str, Predictor], limits: Limits) -> Iterator[Api]:
    """The models' threads run within the block."""
    api = Api(predictors, limits)
    try:
        yield api
    finally:
        api.close()


def run(
    api: Api,
    listening: socket.socket,
    stopped: Callable[[], int | None],
    proxy: str | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Answer until `stopped` tells a signal; then what is under way is answered, no more is taken.

    proxy: the address, or several, see `check_proxy`, whose word for a client's address
    (X-Forwarded-For) is believed. say: is called where that may take a while.
    """
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # or clients write our log
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(api),
            http=patient(api.limits.seconds),
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="error",
            server_header=False,
            proxy_headers=proxy is not None,
            forwarded_allow_ips=proxy,
            timeout_graceful_shutdown=math.ceil(api.limits.seconds + LINGER) + 1,
        )
    )
    server.capture_signals = contextlib.nullcontext  # `stopped` hears them

    async def serve() -> None:
        serving = asyncio.create_task(server.serve([listening]))
        while not serving.done() and stopped() is None:
            await asyncio.wait({serving}, timeout=LISTEN)
        server.should_exit = True
        if (taken := api.places.taken) and not serving.done():
            say(f"answering what is under way ({taken}); a second signal ends at once")
        await serving

    asyncio.run(serve())
