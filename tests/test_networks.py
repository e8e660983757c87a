"""What every network must do: learn by heart, keep its numbers, leave as ONNX, be a recipe."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
torch.set_num_threads(1)  # tensors this small only wait for each other's threads

import onnxruntime
from typer.testing import CliRunner

from poised.bundled import recipe_names
from poised.cli import app
from poised.cost import TOLERANCE, measure_cost
from poised.datasets import DATASETS, read_people, renamed
from poised.datasets.lspet import read_lspet
from poised.datasets.poses import PoseCrops
from poised.nets import NETWORKS, build
from poised.nets.attention import attention_maps
from poised.nets.rtmdet import STRIDES
from poised.read_recipe import RecipeError, load_recipe
from poised.recipe import Recipe
from poised.types import Skeleton

SMALL: dict[str, dict[str, object]] = {  # options that keep each paper's parts, and few channels
    "cpn": {"width": 0.125},
    "csanet": {"width": 0.125},
    "efafnet": {"width": 0.125},
    "hourglass": {"stacks": 2, "width": 0.125},
    "hrnet": {"width": 0.125},
    "lite_pyramid": {"second_look": 2},
    "movenet": {"second_look": 2, "width": 16},
    "multi_context": {"stacks": 2, "width": 0.125},  # the second stack attends to parts
    "plain_pyramid": {"width": 8},
    "plain_resnet": {"width": 0.125, "dilated": 1},
    "simple_baseline": {"width": 0.125},
    "spcnet": {"modules": 2, "width": 0.125},
}
RATES = {  # at which each learns by heart; more layers than these tests have time for cut down
    "cpn": (1e-2, {}),
    "csanet": (3e-3, {}),
    "hourglass": (3e-3, {"stacks": 1}),
    "multi_context": (1e-3, {"stacks": 1}),
    "plain_resnet": (3e-3, {"depth": 18}),
    "simple_baseline": (3e-3, {}),
    "spcnet": (3e-3, {"modules": 1}),
}
SKELETON = Skeleton.load("lsp14")
POSE = sorted(set(NETWORKS) - {"rtmdet"})


def small(name: str, **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    groups = list(SKELETON.groups.values())
    return build(name, joints=len(SKELETON), groups=groups, **{**SMALL[name], **options})


def images(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_every_network_is_tried_here() -> None:
    assert set(SMALL) == set(POSE)


@pytest.fixture(scope="session")
def eight_people(shared: Path) -> list[torch.Tensor]:
    """Images, targets and weights of eight of LSPET's people, not augmented."""
    recipe = load_recipe(
        "lsp14",
        [
            "input.size=[64, 64]",
            "target.sigma=2",  # wide: a squared error leaves the all-zero map sooner
            "augment={rotate: 0, flip: 0, scale: [1, 1], shift: 0, half_body: 0, colour: 0}",
        ],
    )
    samples = PoseCrops(read_lspet(shared / "data" / "lspet", "train")[:8], SKELETON, recipe)
    batch = [torch.stack(part) for part in zip(*(samples[(0, i)] for i in range(8)), strict=True)]
    return [samples.images(batch), samples.targets(batch), batch[3]]


@pytest.mark.parametrize("name", sorted(RATES))
def test_it_learns_eight_people_by_heart(name: str, eight_people: list[torch.Tensor]) -> None:
    """Its own loss falls below 2% of the first within 400 steps."""
    rate, options = RATES[name]
    network = small(name, **options)
    pictures, targets, weights = eight_people
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    first = None
    for _ in range(400):
        loss = network.loss(network(pictures), targets, weights)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        first = first or loss.item()
        if loss.item() < 0.02 * first:
            return
    pytest.fail(f"the loss went from {first:.4f} to {loss.item():.4f} only")


@pytest.mark.parametrize("name", ["efafnet", "hrnet", "simple_baseline"])
def test_it_finds_eight_peoples_joints(name: str, eight_people: list[torch.Tensor]) -> None:
    """From near empty maps to three of four peaks within a pixel, in 100 steps."""
    pictures, targets, weights = eight_people
    network = small(name)
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    wanted, side = targets.flatten(2).argmax(-1)[weights > 0], targets.shape[-1]
    found = 0.0
    for _ in range(100):
        maps = network(pictures)
        got = maps[-1].flatten(2).argmax(-1)[weights > 0]
        across, down = (got % side - wanted % side).abs(), (got // side - wanted // side).abs()
        found = (torch.maximum(across, down) <= 1).double().mean().item()
        if found >= 0.75:
            return
        optimiser.zero_grad()
        network.loss(maps, targets, weights).backward()
        optimiser.step()
    pytest.fail(f"{found:.0%} of the joints are found")


@pytest.mark.parametrize("name", POSE)
def test_half_precision_and_memory_layout_keep_the_maps(name: str) -> None:
    network = small(name).eval()
    with torch.no_grad():
        want = network(images())[-1]
        last = network.to(memory_format=torch.channels_last)(
            images().contiguous(memory_format=torch.channels_last)
        )[-1]
        with torch.autocast("cpu", torch.bfloat16):
            half = network(images())[-1].float()
    assert want.shape == (2, 14, 16, 16)
    scale = want.std()
    assert ((last - want).abs().max() / scale).item() < 1e-3
    assert ((half - want).pow(2).mean().sqrt() / scale).item() < 0.1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", POSE)
def test_it_leaves_as_onnx(name: str, tmp_path: Path) -> None:
    network = small(name).eval()
    path = tmp_path / f"{name}.onnx"
    torch.onnx.export(
        network, (images(),), str(path), dynamo=False, opset_version=17, input_names=["images"]
    )
    with torch.no_grad():
        want = network(images())[-1].numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {"images": images().numpy()})[-1]
    assert np.abs(got - want).max() / max(1.0, np.abs(want).max()) < 1e-3


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_builds_what_it_says(name: str) -> None:
    """The prediction has the skeleton's keypoints at the recipe's stride; the row has a source."""
    recipe = load_recipe(name)
    joints = len(Skeleton.load(recipe.skeleton)) if recipe.skeleton else 5
    groups = Skeleton.load(recipe.skeleton).groups.values() if recipe.skeleton else ()
    with torch.device("meta"):
        network = build(
            recipe.network.name, joints=joints, groups=groups, **recipe.network.options
        ).eval()
        width, height = recipe.input.size
        outputs = network(torch.zeros(1, 3, height, width))
    strides = STRIDES if recipe.detects else (recipe.input.stride,)
    assert {maps.shape[2:] for maps in outputs} == {(height // s, width // s) for s in strides}
    assert outputs[-1].shape[1] == joints
    if recipe.target.loss == "paper":
        assert recipe.paper
        assert recipe.reported
        weights = torch.ones(1, joints, device="meta")
        assert network.loss(outputs, outputs[-1], weights).shape == ()


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipes_parts_are_known_to_their_readers(name: str, tmp_path: Path) -> None:
    """In an empty folder only the file is missing: an unknown part is a DatasetError."""
    recipe = load_recipe(name)
    parts = [(recipe.dataset.name, recipe.test.split)] if recipe.paper else []
    parts += [(d.name, d.train) for d in (recipe.dataset, *recipe.dataset.also) if recipe.skeleton]
    for dataset, part in parts:
        with pytest.raises(FileNotFoundError):
            read_people(dataset, tmp_path, part)
        if dataset == "mpii":  # its reader takes any file's stem
            assert part in ("train", "valid", "test", "matlab-train")
    for also in recipe.dataset.also:
        theirs = Skeleton.load(DATASETS[also.name].skeleton)
        assert renamed([], theirs, Skeleton.load(recipe.skeleton), also.rename) == []


def test_rows_of_one_public_network_are_trained_and_tested_alike() -> None:
    """Whichever paper's table they stand in; their public code drops near-duplicates by OKS 0.9."""
    rows: dict[tuple[object, ...], list[Recipe]] = {}
    for recipe in map(load_recipe, recipe_names()):
        if recipe.network.name in ("hrnet", "simple_baseline") and recipe.paper:
            kind = (recipe.network.name, recipe.dataset.name, recipe.input.size)
            rows.setdefault(kind, []).append(recipe)
    assert len(rows) == 7
    for recipes in rows.values():
        first = recipes[0]
        for recipe in recipes:
            assert recipe.target == first.target, recipe.name
            assert recipe.augment == first.augment, recipe.name
            assert recipe.optimise == first.optimise, recipe.name
            test = recipe.test
            assert (test.flip, test.shift, test.decoder, test.nms) == (
                True,
                True,
                "quarter",
                "none",
            )
            if test.boxes == "detected":
                assert (test.pose_nms, test.pose_nms_threshold) == ("hard", 0.9), recipe.name
                assert (test.rescore, test.threshold) == (True, 0.2), recipe.name
            assert recipe.backbone.paper == "ImageNet", recipe.name


def test_a_recipe_is_its_base_and_its_difference() -> None:
    base, row = load_recipe("cpn"), load_recipe("cpn-hard-10")
    assert row.network.options == {"hard": 10}
    assert (row.optimise, row.test, row.paper) == (base.optimise, base.test, base.paper)
    assert [r.row for r in row.reported] == ["M 10"]  # the base's rows are the base's
    with pytest.raises(RecipeError, match=r"no recipe 'cpm' \(close to it: cpn"):
        load_recipe("cpm")


def test_costs_are_those_of_public_implementations() -> None:
    """Within 3% of the counts of public implementations, and of EFAFNet's own two."""
    checked = 0
    for name in ("cpn", "cpn-384x288", "csanet-sbn", "cpn-hourglass1", "spcnet-hourglass"):
        row = measure_cost(load_recipe(name))
        public = [p.figures for p in row.published if "MACs_G" in p.figures]
        for figures in public:
            assert row.params_m == pytest.approx(figures["params_M"], rel=TOLERANCE)
            assert row.macs_g == pytest.approx(figures["MACs_G"], rel=TOLERANCE)
            checked += 1
    assert checked == 5
    hrnet = measure_cost(load_recipe("efafnet-hrnet-w48-384x288"))
    assert (hrnet.params_m, hrnet.macs_g) == pytest.approx((63.60, 35.31), rel=1e-3)
    for name, params in (("efafnet-fasm", 37.0), ("efafnet-fasm-c", 39.28)):
        assert measure_cost(load_recipe(name)).params_m == pytest.approx(params, rel=TOLERANCE)


def test_public_costs_are_the_reference_files(shared: Path) -> None:
    from poised.cost import PUBLIC

    rows = json.loads((shared / "reference" / "network_costs.json").read_text())["rows"]
    ours = {(size, joints, params, macs) for _, _, size, joints, params, macs, _ in PUBLIC}
    theirs = {(tuple(r["input_wh"]), r["keypoints"], r["params_M"], r["macs_G"]) for r in rows}
    assert ours == theirs


def test_the_command_line_lists_shows_and_counts(tmp_path: Path) -> None:
    run = CliRunner().invoke
    listed = run(app, ["recipes"])
    assert listed.exit_code == 0
    assert all(name in listed.output for name in ("csanet-ss-unweighted", "spcnet-flic", "lsp14"))
    shown = run(app, ["recipes", "show", "cpn-hard-10"])
    assert "hard: 10" in shown.output
    assert "weight_decay: 1.0e-05" in shown.output  # from the base
    counted = run(app, ["cost", "cpn-concat", "--out", str(tmp_path / "cost.json")])
    assert counted.exit_code == 0, counted.output
    assert json.loads((tmp_path / "cost.json").read_text())[0]["params_m"] == 25.726
    wrong = run(app, ["cost"])
    assert wrong.exit_code == 2
    assert "name recipes, or give --all" in wrong.output


@pytest.mark.parametrize(
    "name", ["cpn", "csanet", "efafnet", "rtmdet", "spcnet", "simple_baseline"]
)
def test_the_pages_diagrams_are_the_code(name: str) -> None:
    folder = Path(__file__).parents[1] / "docs"
    spec = importlib.util.spec_from_file_location("draw_networks", folder / "draw_networks.py")
    draw = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw)
    assert draw.diagram(name) in (folder / "networks" / f"{name}.md").read_text("utf-8")


def test_attention_maps_are_those_of_the_papers() -> None:
    """Multi-context: four levels and a refined map a stack, parts in the second; SIM's weights."""
    maps = {name: attention_maps(small(name).eval(), images()) for name in POSE}
    attending = {name for name, found in maps.items() if found}
    assert attending == {"efafnet", "multi_context", "spcnet"}
    joints = len(SKELETON)
    counts = [m.shape[1] for m in maps["multi_context"].values()]
    assert counts == [1, 1, 1, 1, 1, 1, 1, 1, 1, joints]
    (levels,) = maps["spcnet"].values()
    torch.testing.assert_close(levels.sum(1), torch.ones(2, 16, 16))
    assert all(m.min() >= 0.5 and m.shape[:2] == (2, 1) for m in maps["efafnet"].values())
