"""A model's other forms: OpenVINO's, TorchScript, the whole graph, int8; and that they agree."""

from __future__ import annotations

import pickle
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs poised[train]")
onnx = pytest.importorskip("onnx", reason="needs poised[train]")
pytest.importorskip("onnxruntime", reason="needs poised[onnx]")

from models import NOTES, colour_model
from typer.testing import CliRunner

from poised import Boxes, Predictor
from poised.cli import app
from poised.crop_samples import Sample
from poised.crops import heatmap_to_crop
from poised.estimate import Estimator
from poised.forms import Wanted, form_of, write_form
from poised.heatmaps import Decoder, decode, encode_gaussian
from poised.images import read_image
from poised.openvino_model import numbers_of, write_openvino
from poised.runtime import ModelError, Session, find_model
from poised.verify import compare_engines
from poised.whole import Decode, WholeModel

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
SAMPLE = SAMPLES / "basketball1.png"
MODEL = "coco17-small"
NARROW, ALIKE, WIDE = [30, 20, 150, 400], [420, 60, 210, 315], [30, 20, 500, 300]  # crops are 2:3
XYWH = np.array([NARROW, ALIKE, WIDE], np.float64)
FORMS = ("plain.xml", "plain.pt", "whole.onnx", "whole.xml", "whole.torchscript")


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def needs_nncf() -> None:
    """Without importing it, which is for `export` to do: it would report its use otherwise."""
    if find_spec("nncf") is None:
        pytest.skip("needs poised[int8]")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the bundled small model in FORMS."""
    folder = tmp_path_factory.mktemp("forms")
    for name in FORMS:
        options = ["--whole"] if name.startswith("whole") else []
        code, output = run("export", MODEL, "--out", folder / name, *options)
        assert code == 0, output
    return folder


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Three people's as the network takes them."""
    estimator = Estimator(Session(MODEL), flip=False)
    return estimator.crops([read_image(SAMPLE)] * 3, estimator.matrices(XYWH), XYWH)


def test_a_linked_xml_finds_its_bin_beside_the_link(tmp_path: Path) -> None:
    """As in the cache of the Hugging Face Hub: links with names, files without."""
    (tmp_path / "blobs").mkdir()
    write_openvino(colour_model(tmp_path / "a.onnx"), NOTES, tmp_path / "blobs" / "m.xml")
    for end, blob in ((".xml", "abc"), (".bin", "def")):
        (tmp_path / "blobs" / f"m{end}").rename(tmp_path / "blobs" / blob)
        (tmp_path / f"m{end}").symlink_to(tmp_path / "blobs" / blob)
    assert list(Session(tmp_path / "m.xml").output_shapes) == ["heatmaps"]


@pytest.mark.parametrize("name", ["plain.xml", "plain.pt"])
def test_a_form_gives_the_models_own_maps(forms: Path, crops: np.ndarray, name: str) -> None:
    """Of any number of crops, and says the same of itself."""
    own, other = Session(MODEL, "onnx"), Session(forms / name)
    assert other.metadata == own.metadata
    for some in (crops[:1], crops):
        maps = other.run(some)["heatmaps"]
        np.testing.assert_allclose(maps, own.run(some)["heatmaps"], atol=1e-4)


@pytest.mark.parametrize("name", FORMS)
def test_predict_takes_every_form(forms: Path, tmp_path: Path, name: str) -> None:
    command = ("predict", SAMPLE, "--whole-image", "--no-draw", "--out", tmp_path, "--model")
    code, output = run(*command, forms / name)
    assert code == 0, output
    assert (tmp_path / "poses.json").is_file()


WAYS = (
    ("whole.onnx", "onnx"),
    ("whole.onnx", "openvino"),
    ("whole.xml", "auto"),
    ("whole.torchscript", "auto"),
)


@pytest.mark.parametrize(("name", "engine"), WAYS)
def test_a_whole_graph_gives_the_estimators_poses(forms: Path, name: str, engine) -> None:
    """Scores too, where the longer side is the crop's; the quality where the proportion is."""
    images = [read_image(SAMPLE)] * 3
    found = []
    for session in (Session(MODEL, "onnx"), Session(forms / name, engine)):
        estimator = Estimator(session, flip=False)
        matrices = estimator.matrices(XYWH)
        found.append(estimator.estimate(images, matrices, XYWH))
    own, whole = found
    gain = np.sqrt(np.linalg.det(matrices[:, :, :2]))[:, None, None]  # crop pixels an image's
    assert (own.score > 0.5).sum() > 20  # people are seen
    np.testing.assert_allclose(whole.xy * gain, own.xy * gain, atol=0.01)
    np.testing.assert_allclose(whole.score[:2], own.score[:2], atol=1e-4)
    np.testing.assert_allclose(whole.quality[1], own.quality[1], atol=1e-4)
    assert (whole.score[2] >= own.score[2] - 1e-4).all()  # of a wide box too high, as it says
    assert whole.quality[0] > own.quality[0]


def test_a_whole_graph_is_used_without_flip(forms: Path) -> None:
    boxes = Boxes(XYWH[:2], np.ones(2))
    plain = Predictor.load(MODEL, detector=None, flip=False).predict(SAMPLE, boxes)
    whole = Predictor.load(forms / "whole.xml", detector=None, flip=True).predict(SAMPLE, boxes)
    np.testing.assert_allclose(whole.xy, plain.xy, atol=0.05)


def test_places_are_the_numpy_decoders() -> None:
    """Peaks anywhere, at edges and in corners too, beside other peaks, noise, and empty maps."""
    rng = np.random.default_rng(0)
    xy = rng.uniform(-2, [26, 34], (200, 3, 2))
    maps = encode_gaussian(xy, np.ones((200, 3), bool), (24, 32), 1.5)
    maps += 0.6 * encode_gaussian(xy[::-1], np.ones((200, 3), bool), (24, 32), 2.5)
    maps += rng.normal(0, 0.01, maps.shape).astype(np.float32)
    maps[0] = 0
    maps[1] = -1
    for people in (1, 200):  # any number
        some = maps[:people]
        places = Decode(NOTES).places(torch.from_numpy(some)).numpy()
        np.testing.assert_allclose(places, decode(some, "unbiased", 1.5)[0], atol=1e-3)


@pytest.mark.parametrize("crop", ["unbiased", "classic"])
def test_maps_that_are_no_chances_score_their_maxima(crop: str) -> None:
    """At most 1; the quality is the mean of those above 0.2; crop pixels are those of the crop."""
    xy = np.array([[[10.25, 20.5], [5.5, 6.0], [15.0, 9.0]]])
    maps = encode_gaussian(xy, np.ones((1, 3), bool), (24, 32), 1.5)
    maps *= np.array([1.5, 0.6, 0.1], np.float32)[:, None, None]
    points, scores, quality = Decode(NOTES | {"crop": crop})(torch.from_numpy(maps))
    np.testing.assert_allclose(points.numpy(), heatmap_to_crop(xy, 4, crop), atol=0.05)
    np.testing.assert_allclose(scores.numpy(), [maps[0].max((1, 2)).clip(0, 1)], rtol=1e-6)
    np.testing.assert_allclose(quality.numpy(), [scores[0, :2].mean()], rtol=1e-6)


@pytest.mark.parametrize("decoder", ["quarter", "second", "gaussian", "argmax"])
def test_another_decoder_is_refused(decoder: Decoder) -> None:
    with pytest.raises(ModelError, match=f"dots is decoded by `{decoder}`"):
        WholeModel(torch.nn.Identity(), NOTES | {"decoder": decoder})


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_unopened(tmp_path: Path) -> None:
    for number, new_form in enumerate((True, False)):
        trap, file = tmp_path / f"sprung{number}", tmp_path / f"{number}.pt"
        torch.save({"a": Trap(trap)}, file, _use_new_zipfile_serialization=new_form)
        with pytest.raises(ModelError, match=r"not TorchScript; .*import-weights"):
            Session(file)
        assert not trap.exists()
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))  # it would have
    assert (tmp_path / "sprung").exists()


def test_foreign_and_damaged_files_are_named(forms: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Flatten(), torch.zeros(2, 3, 4)), str(foreign))
    with pytest.raises(ModelError, match=r"foreign\.pt: TorchScript that .* did not write"):
        Session(foreign)
    for name in ("plain.pt", "plain.xml"):
        cut = tmp_path / name
        cut.write_bytes((forms / name).read_bytes()[:-1000])
        cut.with_suffix(".bin").write_bytes(b"")
        with pytest.raises(ModelError, match=rf"{cut.name}: not"):
            Session(cut)
    alone = tmp_path / "alone.xml"
    alone.write_bytes((forms / "plain.xml").read_bytes())
    with pytest.raises(ModelError, match=r"alone\.xml: .*alone\.bin, are not beside"):
        Session(alone)
    alone.with_suffix(".bin").write_bytes((forms / "plain.bin").read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"alone\.xml: not a model that openvino reads"):
        Session(alone)
    with pytest.raises(ModelError, match="take engine openvino"):
        Session(forms / "plain.xml", "onnx")


def test_what_cannot_be_made_is_said(forms: Path, tmp_path: Path) -> None:
    model = colour_model(tmp_path / "dots.onnx")  # no weights beside it
    for options, message in (
        (("--out", tmp_path / "a.pt"), "dots.safetensors, which are not beside it"),
        (("--out", tmp_path / "a.onnx", "--whole"), "dots.safetensors, which are not beside it"),
        (("--out", tmp_path / "a.onnx", "--to", "openvino"), "openvino ends in .xml"),
        (("--out", tmp_path / "a.xml", "--int8"), "--int8 needs --dataset, --data and --split"),
    ):
        code, output = run("export", model, *options)
        assert code == 2, output
        assert message in " ".join(output.split())
    (tmp_path / "five.yaml").write_text("name: five\n")
    code, output = run("export", tmp_path / "five.yaml", "--out", tmp_path / "a.onnx")
    assert "five.yaml: neither weights (.safetensors) nor an ONNX model" in " ".join(output.split())
    code, output = run("export", "person", "--out", tmp_path / "a.xml", "--whole")
    assert code == 2, output
    assert "a detector" in output
    assert not list(tmp_path.glob("a.*"))
    theirs = onnx.load(str(model))
    del theirs.metadata_props[:]
    onnx.save(theirs, str(tmp_path / "theirs.onnx"))
    for out in ("a.onnx", "a.xml"):
        code, output = run("export", tmp_path / "theirs.onnx", "--out", tmp_path / out)
        assert code == 2, output
        assert "not a model of ours: it does not say how it is fed" in " ".join(output.split())
    code, output = run("export", model, "--out", tmp_path / "copy.onnx")  # as it is
    assert code == 0, output
    assert (tmp_path / "copy.onnx").read_bytes() == model.read_bytes()
    code, output = run("export", model, "--out", tmp_path / "dots.xml")
    assert code == 0, output
    assert Session(tmp_path / "dots.xml").metadata == NOTES


def test_verify_tells_alike_from_unlike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four ways to run one model agree; two models do not, and then the exit code is 1."""
    command = ("export", MODEL, "--out", tmp_path / "a.xml", "--images", SAMPLES, "--verify")
    code, output = run(*command)
    assert code == 0, output
    assert output.count("crop pixels and") == 3
    people = [Sample(SAMPLE, box) for box in XYWH]
    (apart,) = compare_engines({"a": Session(MODEL), "b": Session("coco17")}, people)
    assert not apart.close
    monkeypatch.setattr("poised.verify.SCORE", -1.0)
    code, output = run(*command)
    assert code == 1
    assert "engines differ by more than" in output


@pytest.mark.parametrize(
    ("name", "engines"), [("a.onnx", ("onnx", "openvino")), ("a.xml", ("openvino",))]
)
def test_int8_finds_the_same_joints(tmp_path: Path, name: str, engines: tuple[str, ...]) -> None:
    """Sure joints within 2 crop pixels in the median, calibrated on these very people."""
    needs_nncf()
    people = [Sample(SAMPLE, box) for box in XYWH]
    wanted = Wanted(find_model(MODEL), whole=True, people=people)
    write_form(wanted, tmp_path / name, form_of(tmp_path / name, None))
    images = [read_image(SAMPLE)] * 3
    own = Estimator(Session(MODEL), flip=False)
    matrices = own.matrices(XYWH)
    want = own.estimate(images, matrices, XYWH)
    gain = np.sqrt(np.linalg.det(matrices[:, :, :2])).mean()
    for engine in engines:
        session = Session(tmp_path / name, engine)
        assert session.metadata["precision"] == "int8"
        found = Estimator(session, flip=False).estimate(images, matrices, XYWH)
        away = np.linalg.norm(found.xy - want.xy, axis=-1)[want.score > 0.5]
        assert np.median(away * gain) < 2
    assert numbers_of(session.path).stat().st_size < 0.65 * find_model(MODEL).stat().st_size
    assert not sys.modules.get("openvino_telemetry")  # which would report


def test_int8_is_of_pose_models_and_not_torchscript(tmp_path: Path) -> None:
    people = [Sample(SAMPLE, box) for box in XYWH]
    with pytest.raises(ModelError, match="int8 is had as onnx and openvino"):
        write_form(Wanted(find_model(MODEL), people=people), tmp_path / "a.pt", "torchscript")
    needs_nncf()
    with pytest.raises(ModelError, match="a detector; int8 is calibrated"):
        write_form(Wanted(find_model("person"), people=people), tmp_path / "a.onnx", "onnx")


def test_an_end_that_is_no_forms_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x\.foo: its end is no form's; they are \.onnx, \.xml"):
        form_of(Path("x.foo"), None)
    with pytest.raises(ValueError, match=r"x\.onnx: a file of the form openvino ends in \.xml"):
        form_of(Path("x.onnx"), "openvino")
