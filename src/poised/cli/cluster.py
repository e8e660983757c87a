"""`poised cluster predict`."""

from __future__ import annotations

from typing import Annotated

import typer

from poised.cli.common import Engine, app, errors, extra, number

cluster_app = typer.Typer(help="On many machines, by Ray.", no_args_is_help=True)
app.add_typer(cluster_app, name="cluster")


@cluster_app.callback()
def cluster() -> None:
    """On many machines, by Ray."""


@cluster_app.command("predict")
def cluster_predict(
    source: Annotated[str, typer.Option("--input", help="A folder, or s3://bucket/folder.")],
    output: Annotated[str, typer.Option(help="Likewise, for the Parquet files; empty.")],
    workers: Annotated[int, typer.Option(help="Actors, each with the networks of its own.")] = 1,
    cpus: Annotated[int, typer.Option(help="CPU cores of an actor.")] = 1,
    gpus: Annotated[
        float,
        typer.Option(min=0, help="GPUs of an actor, with --engine torch; 0.5: two share one."),
    ] = 0,
    address: Annotated[
        str | None, typer.Option(help="Of a Ray cluster, or auto; default: this machine alone.")
    ] = None,
    detector: Annotated[str, typer.Option(help="A bundled detector or an ONNX file.")] = "person",
    whole_image: Annotated[
        bool, typer.Option("--whole-image", help="One person fills each image.")
    ] = False,
    model: Annotated[str, typer.Option(help="As of `poised predict`.")] = "coco17",
    engine: Annotated[Engine, typer.Option(help="What runs the networks.")] = Engine.auto,
    flip: Annotated[bool, typer.Option(help="Average with the mirrored crop.")] = True,
    batch: Annotated[
        int | None, typer.Option(help="People a network call; default: 4, by torch 32.")
    ] = None,
) -> None:
    """Write everybody's pose in the images under INPUT to OUTPUT, by actors on many machines."""
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
        count = predict(source, output, predictor, workers, cpus, gpus)
    typer.echo(f"{number(count, 'image')} -> {output}")
