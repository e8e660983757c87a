"""`poised cluster predict`."""

from __future__ import annotations

from typing import Annotated

import typer

from poised.cli.answer import Answer, answers
from poised.cli.common import (
    Batch,
    Detector,
    Engine,
    Flip,
    Model,
    Runner,
    WholeImage,
    app,
    errors,
    extra,
    number,
)

cluster_app = typer.Typer(help="On many machines, by Ray.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")


@cluster_app.callback()
def cluster() -> None:
    """On many machines, by Ray."""


@cluster_app.command("predict")
@answers
def cluster_predict(
    source: Annotated[str, typer.Argument(help="A folder, or s3://bucket/folder.")],
    out: Annotated[str, typer.Option(help="Likewise, for the Parquet files; empty.")],
    workers: Annotated[int, typer.Option(help="Actors, each with the networks of its own.")] = 1,
    cpus: Annotated[int, typer.Option(help="CPU cores of an actor.")] = 1,
    gpus: Annotated[
        float,
        typer.Option(min=0, help="GPUs of an actor, with --engine torch; 0.5: two share one."),
    ] = 0,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, or auto; default: this machine alone.")
    ] = None,
    detector: Detector = "person",
    whole_image: WholeImage = False,
    model: Model = "coco17",
    engine: Runner = Engine.auto,
    flip: Flip = True,
    batch: Batch = None,
) -> Answer:
    """Write everybody's pose in the images under SOURCE to OUT, by actors on many machines."""
    with errors(), extra("ray"):
        import pyarrow  # noqa: F401
        import ray

        from poised.cluster import predict
        from poised.predict import Predictor

        if workers < 1 or cpus < 1:
            raise ValueError(f"workers is {workers} and cpus {cpus}, each must be at least 1")
        predictor = Predictor.load(
            model,
            detector=None if whole_image else detector,
            engine=engine.value,
            threads=cpus,
            flip=flip,
            batch=batch,
        )
        if not ray.is_initialized():
            here = {} if address else {"num_cpus": workers * cpus + 1}  # one that writes
            ray.init(address=address, include_dashboard=False, **here)
        have = ray.cluster_resources().get("GPU", 0)
        if gpus > have:
            raise ValueError(f"--gpus is {gpus:g}, and this cluster has {have:g}")
        count = predict(source, out, predictor, workers, cpus, gpus)
    return Answer({"images": count, "out": out}, [f"{number(count, 'image')} -> {out}"])
