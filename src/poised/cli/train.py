"""`poised train`, and the commands about recipes and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from poised.cli import complete
from poised.cli.answer import Answer, answers
from poised.cli.common import (
    DATA_SETS,
    Accelerator,
    Devices,
    Nodes,
    OneRecipe,
    Overrides,
    app,
    checked_out,
    errors,
    extra,
    say,
    training,
)


@app.command()
@answers
def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe of the package, or a YAML file; not with --from.",
            autocompletion=complete.recipe,
        ),
    ] = None,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The folder; default: runs/<recipe>.")] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew; the run there -> <out>/earlier-N.")
    ] = False,
    devices: Devices = "1",
    nodes: Nodes = 1,
    accelerator: Accelerator = "auto",
    strategy: Annotated[str, typer.Option(help="Of Lightning Fabric; auto is DDP.")] = "auto",
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="The same bits each time, also on a GPU.")
    ] = False,
    log: Annotated[
        list[str] | None, typer.Option(help="Also tell wandb or mlflow, which may send it.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Start from this model for data of your own: a name, a file.",
            autocompletion=complete.pose_model,
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help=f"With --from: {DATA_SETS}")] = None,
    data: Annotated[Path | None, typer.Option(help="With --from: the data set's folder.")] = None,
    split: Annotated[str | None, typer.Option(help="With --from: its part to train on.")] = None,
    skeleton: Annotated[
        str | None, typer.Option(help="With --from: yours; default: what the data names.")
    ] = None,
    find_lr: Annotated[
        bool, typer.Option("--find-lr", help="Only try learning rates, and say which suits.")
    ] = False,
) -> Answer | None:
    """Train a network by a recipe; the same command again goes on where it stopped."""
    with errors(), extra("train"):
        from poised.export import export_onnx
        from poised.find_lr import find_lr as try_rates
        from poised.machine import Machine, is_first
        from poised.train import train as run
        from poised.training_log import outside_loggers

        plan = _plan(recipe, overrides or [], weights, (dataset, data, split, skeleton))
        machine = Machine(accelerator, devices, nodes, strategy, deterministic)
        folder = out or Path("runs") / plan.name
        with training():
            if find_lr:
                return Answer(
                    {"lr": try_rates(plan, folder, say=say, machine=machine), "out": folder}, ()
                )
            outside = outside_loggers(log or (), plan.name, folder)
            trained = run(plan, folder, restart=restart, say=say, machine=machine, loggers=outside)
        if not is_first():
            return None
        exported = export_onnx(trained, trained.with_suffix(".onnx"))
    return Answer({"weights": trained, "onnx": exported}, [f"exported -> {exported}"])


def _plan(
    recipe: str | None,
    overrides: list[str],
    weights: str | None,
    own: tuple[str | None, Path | None, str | None, str | None],
) -> Any:
    """The recipe that is asked for: by its name, or that of weights for one's own data."""
    from poised.own_data import doubts, own_recipe
    from poised.read_recipe import load_recipe

    dataset, data, split, skeleton = own
    if weights is None:
        if recipe is None or any(value is not None for value in own):
            raise ValueError("name a RECIPE; or for data of your own --from, --dataset and --data")
        return load_recipe(recipe, overrides)
    if recipe is not None:  # with --from the first word is no recipe
        overrides = [recipe, *overrides]
    if dataset is None or data is None:
        raise ValueError("--from needs --dataset and --data, which name your data set")
    plan = own_recipe(weights, dataset, data, split or "train", skeleton, overrides)
    for line in doubts(plan):
        typer.echo(f"Mind: {line}", err=True)
    return plan


recipes_app = typer.Typer(help="The recipes: one for each row of the papers' tables.")
app.add_typer(recipes_app, name="recipes", invoke_without_command=True)


@recipes_app.callback()
@answers
def recipes(context: typer.Context) -> Answer | None:
    """List the recipes: what they build, on which data, and which rows they stand for."""
    with errors(), extra("eval"):
        if context.invoked_subcommand is not None:
            if context.params["json"]:
                raise ValueError(f"--json comes after {context.invoked_subcommand}")
            return None
        from rich.table import Table

        from poised.bundled import recipe_names
        from poised.read_recipe import load_recipe

        table = Table("recipe", "network", "data", "size", "stands for")
        facts = []
        for name in recipe_names():
            recipe = load_recipe(name)
            network, data, size = recipe.network.name, recipe.dataset.name, recipe.input.size
            rows = [f"{row.source}: {row.row} {_figure(row.figures)}" for row in recipe.reported]
            table.add_row(name, network, data, "x".join(map(str, size)), "\n".join(rows))
            stands_for = [row.model_dump() for row in recipe.reported]
            facts.append({"name": name, "network": network, "dataset": data, "size": size})
            facts[-1]["reported"] = stands_for
    return Answer(facts, [table])


def _figure(figures: dict[str, float]) -> str:
    """The one figure that a row is known by."""
    known = [name for name in ("AP", "Total", "AP_medium") if name in figures]
    return f"({known[0]} {figures[known[0]]:g})" if known else ""


@recipes_app.command("show")
@answers
def show_recipe(
    recipe: OneRecipe,
    overrides: Overrides = None,
) -> Answer:
    """Print a recipe with everything filled in: its base, its defaults, its source."""
    with errors(), extra("eval"):
        import yaml

        from poised.bundled import recipe_files
        from poised.read_recipe import load_recipe

        plan = load_recipe(recipe, overrides or [])
        try:
            from poised.checkpoint import check_network

            check_network(plan)
        except ImportError:
            typer.echo("network.options are not checked: pip install 'poised[train]'", err=True)
        values = plan.model_dump(mode="json")
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=100)
    return Answer(values, [f"# {recipe_files().get(recipe, recipe)}", text.removesuffix("\n")])


@app.command()
@answers
def cost(
    recipes: Annotated[
        list[str] | None,
        typer.Argument(help="Of the package, or YAML files.", autocompletion=complete.recipe),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every recipe.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write the figures here too.")] = None,
) -> Answer:
    """Count parameters, multiplications and activations, beside what was published."""
    with errors(), extra("train"):
        from rich.table import Table

        from poised.bundled import recipe_names
        from poised.cost import measure_cost
        from poised.files import write_text
        from poised.read_recipe import load_recipe
        from poised.reading import json_text

        checked_out(out)

        if not recipes and not everything:
            raise ValueError("name recipes, or give --all")
        costs = [measure_cost(load_recipe(name)) for name in recipes or recipe_names()]
        table = Table("recipe", "params M", "MACs G", "activations M", "published", "why not equal")
        for row in costs:
            published = "\n".join(map(str, row.published))
            figures = (f"{row.params_m:.2f}", f"{row.macs_g:.2f}", f"{row.activations_m:.1f}")
            table.add_row(row.recipe, *figures, published, row.why)
        facts = [row.as_dict() for row in costs]
        shown: list[Any] = [table]
        if out is not None:
            write_text(out, json_text(facts, indent=1))
            shown.append(f"figures -> {out}")
    return Answer(facts, shown)


@app.command("import-backbone")
@answers
def import_backbone(
    file: Annotated[Path, typer.Argument(help="ResNet, Res2Net, HRNet or Inception-ResNet-v2.")],
    out: Annotated[Path | None, typer.Option(help="Default: beside it, .safetensors.")] = None,
) -> Answer:
    """Turn an ImageNet file into safetensors, for `backbone.weights` of a recipe."""
    with errors(), extra("train"):
        from poised.pretrained import import_backbone as run

        target = out or file.with_suffix(".safetensors")
        network = run(file, target)
    return Answer({"network": network, "out": target}, [f"{network} -> {target}"])


@app.command("import-weights")
@answers
def import_weights(
    file: Annotated[Path, typer.Argument(help="A trained checkpoint of another project.")],
    kind: Annotated[
        str,
        typer.Option("--as", help="movenet, rtmdet, sbn-hrnet, hrnet, hourglass or cpn-pytorch."),
    ],
    out: Annotated[Path | None, typer.Option(help="Default: beside it, .safetensors.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Written into the file: how the network is used.",
            autocompletion=complete.recipe,
        ),
    ] = None,
) -> Answer:
    """Turn a public checkpoint into ours, for `network.weights` of a recipe or for `--model`."""
    with errors(), extra("train"):
        from poised.foreign_weights import INPUTS
        from poised.foreign_weights import import_weights as run
        from poised.read_recipe import load_recipe

        target = out or file.with_suffix(".safetensors")
        plan = load_recipe(recipe) if recipe else None
        network = run(file, kind, target, plan)
        shown = [f"{network} -> {target}"]
        if kind in INPUTS:
            mean, std = INPUTS[kind]["mean"], INPUTS[kind]["std"]
            shown.append(
                f"Its images were normalised by input.mean={mean} and input.std={std}: export and "
                "prediction do so; to train on from it, give these to the recipe."
            )
    again = "" if recipe else " --recipe NAME"
    shown.append(f"poised export {target}{again} --out {target.with_suffix('.onnx')}")
    return Answer({"network": network, "out": target, "input": INPUTS.get(kind)}, shown)
