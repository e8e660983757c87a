"""`poised serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from poised.cli import complete
from poised.cli.common import Detector, Threads, app, errors, extra, say


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other computers in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8000,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Bundled or a file; repeatable, the first is the default: coco17.",
            autocompletion=complete.pose_model,
        ),
    ] = None,
    detector: Detector = "person",
    threads: Threads = None,
    max_bytes: Annotated[int, typer.Option(help="Of a request.")] = 20_000_000,
    max_pixels: Annotated[int, typer.Option(help="Of an image.")] = 25_000_000,
    max_images: Annotated[int, typer.Option(help="Of a request.")] = 16,
    queue: Annotated[int, typer.Option(help="Requests under way; of more, 503.")] = 64,
    seconds: Annotated[float, typer.Option(help="A request may take.")] = 30.0,
    rate: Annotated[float, typer.Option(help="Requests a second of a client; 0: any.")] = 20.0,
    proxy: Annotated[
        str | None, typer.Option(help="Whose X-Forwarded-For is believed: addresses, networks.")
    ] = None,
    static: Annotated[
        Path | None,
        typer.Option(help="Serve nothing: write a folder for any web host, with models inside."),
    ] = None,
    runtime: Annotated[
        Path | None,
        typer.Option(help="For --static: onnxruntime-web, npm's package or its unpacked folder."),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="For --static: let npm bring onnxruntime-web.")
    ] = False,
) -> None:
    """Serve the page and its API: everybody's pose in the images that clients send.

    Ctrl-C or SIGTERM end it when what is under way is answered, a second one at once. With --static
    the models run in the visitor's browser, and no server is needed.
    """
    if static is not None:
        _write(static, model, detector, runtime, fetch)
        return
    with errors(), extra("serve"):
        if runtime or fetch:
            raise ValueError("--runtime and --fetch are for --static DIR, which is not given")
        from poised.interrupt import heard_aside
        from poised.serve.limits import Limits
        from poised.serve.run import address, bind, check_proxy, load, opened, run

        if proxy is not None:
            check_proxy(proxy)
        limits = Limits(max_bytes, max_pixels, max_images, queue, seconds, rate)
        with bind(host, port) as listening, heard_aside() as stopped:
            predictors = load(model or ["coco17", "coco17-small"], detector, threads)
            with opened(predictors, limits) as api:
                say(f"poised serves {', '.join(predictors)} at {address(listening)}")
                run(api, listening, stopped, proxy, say)
                say("stopped; what was under way is answered")


def _write(
    folder: Path, models: list[str] | None, detector: str, runtime: Path | None, fetch: bool
) -> None:
    with errors():
        from poised.serve.static_site import MODELS, write_static

        names = write_static(folder, models or MODELS, detector, runtime=runtime, fetch=fetch)
        say(f"the page with {', '.join(names)} -> {folder}; upload it to any web host")
