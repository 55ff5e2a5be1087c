"""Foreign weights: embeddings and scores are those of PyTorch, in the golden files of `tests/helpers/peers.py`."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_jax
from benchmarks.load_speed import random_tensors
from jepa_jax import ConfigError
from jepa_jax.models.vit import ViT
from jepa_jax.pretrained import Options, convert, open_weights, write
from jepa_jax.pretrained.__main__ import main
from jepa_jax.pretrained.convert import FAMILIES
from jepa_jax.pretrained.ijepa import ORIGINAL_LAYOUT
from jepa_jax.pretrained.positions import resize_positions, weights
from jepa_jax.pretrained.table import Rule, check, match, rows
from score.__main__ import main as score
from tests.helpers import GOLDEN
from tests.helpers.foreign import save_torch_zip
from tests.helpers.scores import expected_scores

FILES = {
    "ijepa_hf": ".",
    "ijepa_meta": "vit-ep300.pth.tar",
    "dinov2_hf": ".",
    "dinov2_hf_bf16": ".",
    "dinov2_hf_giant": ".",
    "dinov2_hf_no_bias": ".",
    "dinov2_hf_registers": ".",
    "dinov2_meta": "dinov2_pretrain.pth",
    "dinov2_meta_giant": "dinov2_pretrain.pth",
    "dinov2_meta_registers": "dinov2_pretrain.pth",
    "clip_hf_vision": ".",
    "clip_hf_full": ".",
    "metaclip2_hf": ".",
    "metaclip_pt": "b32_400m.pt",
    "open_clip": ".",
}
HEADS = 2
SIDES = (16, 24, 8)  # the first is native


def path_of(case: str) -> Path:
    return (GOLDEN / case / FILES[case]).resolve()


def options(case: str) -> dict[str, Any]:
    """Original files do not say how many heads there are."""
    return {} if path_of(case).is_dir() else {"heads": HEADS}


def images(side: int) -> np.ndarray:
    return np.random.default_rng(side).standard_normal((2, side, side, 3), np.float32)


def test_every_case_is_here() -> None:
    assert {p.name for p in GOLDEN.iterdir()} == set(FILES)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", FILES)
def test_embeddings_and_scores_are_those_of_pytorch(case: str, side: int) -> None:
    encoder = jepa_jax.load(path_of(case), image_size=side, **options(case))
    golden = np.load(GOLDEN / case / "expected.npz")
    xs = jnp.asarray(images(side))
    z, sigma = golden[f"z_{side}"], golden[f"sigma_{side}"]
    found = next(jepa_jax.score_batches(encoder, xs))
    np.testing.assert_allclose(found.embedding, z, atol=1e-5 * np.abs(z).max())
    np.testing.assert_allclose(found.score, expected_scores(sigma, encoder), atol=5e-3)
    assert encoder.null_directions < encoder.dim
    live = encoder.dim - encoder.null_directions
    assert (sigma[:, live:] < 1e-3 * sigma[:, live - 1 : live]).all()  # they are null in PyTorch too


def test_the_target_encoder_is_taken_unless_the_other_is_asked_for() -> None:
    path = path_of("ijepa_meta")
    target, context = (convert(path, Options(heads=HEADS, branch=b)).params["norm"]["bias"] for b in (None, "context"))
    np.testing.assert_allclose(context, target + 1, rtol=1e-6)


@pytest.mark.parametrize(
    "case",
    [*(pytest.param(case, marks=pytest.mark.slow) for case in ("ijepa_meta", "dinov2_hf_registers")), "open_clip"],
)
def test_converting_is_a_round_trip(case: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The model directory and the foreign file give the very same table."""
    data, out = tmp_path / "x.npy", tmp_path / "model"
    np.save(data, images(24))
    extra = ["--heads", "2"] if options(case) else []
    assert main([str(path_of(case)), "--out", str(out), "--image-size", "24", *extra]) == 0
    assert "licence" in capsys.readouterr().out
    converted = jepa_jax.load(out)
    foreign = jepa_jax.load(path_of(case), image_size=24, **options(case))
    # The same function, recipe and sizes, and the same numbers to the bit: the same scores.
    assert jax.tree.structure(converted) == jax.tree.structure(foreign)
    jax.tree.map(np.testing.assert_array_equal, converted, foreign)
    assert score([str(out), "--data", str(data)]) == 0
    table = np.genfromtxt(out / "scores" / "x.csv", delimiter=",", names=True)
    # Threads that share a product may add in another order.
    np.testing.assert_allclose(table["score"], jepa_jax.score_samples(foreign, images(24)), rtol=1e-6)
    origin = json.loads((out / "config.json").read_text())["origin"]
    assert all(len(file["sha256"]) == 64 for file in origin["files"])


def test_the_foreign_file_itself_is_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", images(16))
    assert score([str(path_of("clip_hf_full")), "--data", "x.npy"]) == 0
    assert (tmp_path / "scores" / "clip_hf_full" / "x.csv").exists()


def test_a_model_directory_is_replaced_whole_and_nothing_else_is(tmp_path: Path) -> None:
    converted = convert(path_of("ijepa_hf"))
    out = tmp_path / "model"
    write(converted, out)
    write(convert(path_of("dinov2_hf")), out)
    assert jepa_jax.load(out).null_directions == 2
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep")
    with pytest.raises(ConfigError, match="is not a converted model"):
        write(converted, tmp_path / "mine")
    shutil.rmtree(out / "checkpoints" / "0")
    with pytest.raises(ConfigError, match="convert them again"):
        jepa_jax.load(out)


def test_half_precision_is_upcast() -> None:
    for case, dtype in (("dinov2_hf_bf16", "bfloat16"), ("open_clip", "float16")):
        tensors = next(iter(open_weights(path_of(case)).groups.values()))
        assert {t.dtype.name for t in tensors.values()} == {dtype}
        assert {a.dtype for a in jax.tree.leaves(convert(path_of(case)).params)} == {np.dtype(np.float32)}


def test_preprocessing_is_the_origin_s(tmp_path: Path) -> None:
    recipe = convert(path_of("ijepa_hf")).preprocessing
    assert (recipe.resize, recipe.size, recipe.mean) == ((16, 16), (16, 16), (0.5,) * 3)
    recipe = convert(path_of("ijepa_meta"), Options(heads=HEADS)).preprocessing
    assert (recipe.resize, recipe.mean) == (18, (0.485, 0.456, 0.406))
    recipe = convert(path_of("clip_hf_full"), Options(image_size=32)).preprocessing
    assert (recipe.resize, recipe.size, recipe.resample) == (32, (32, 32), "bicubic")
    assert convert(path_of("open_clip")).preprocessing.mean == (0.5,) * 3
    shutil.copytree(path_of("dinov2_hf"), tmp_path / "m")
    said = {"size": {"shortest_edge": 20}, "crop_size": {"height": 12, "width": 12}, "do_center_crop": True}
    said |= {"do_resize": True, "resample": 2, "image_mean": [0.1] * 3, "image_std": [0.2] * 3, "do_normalize": True}
    (tmp_path / "m" / "preprocessor_config.json").write_text(json.dumps(said))
    converted = convert(tmp_path / "m")
    assert (converted.preprocessing.resize, converted.preprocessing.size) == (20, (12, 12))
    assert converted.config.image_size == 12


def rename(case: str, folder: Path, change: Any) -> Path:
    """A copy of a Hugging Face case whose tensors went through `change(dict) -> dict`."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(path_of(case), folder)
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")
    return folder


def without(*parts: str) -> Any:
    return lambda tensors: {k: v for k, v in tensors.items() if not any(p in k for p in parts)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("layer.1.norm2.bias"), "without a tensor: blocks/norm2/bias of block 1"),
        (without("query.bias", "value.bias"), "without a tensor: blocks/qkv/bias"),
        (lambda t: {**t, "head.weight": np.ones(3), "head.bias": np.ones(3)}, "to no parameter: head.bias, head.w"),
        (lambda t: {**t, "layernorm.bias": np.ones(5, np.float32)}, r"shapes: layernorm.bias has shape \[5\]"),
        (
            lambda t: {**without("layernorm.weight")(t), "encoder.layer.7.norm1.bias": np.ones(16, np.float32)},
            "norm1.bias.*layernorm.weight|norm/scale",
        ),
        (
            lambda t: {**t, "embeddings.position_embeddings": np.ones((1, 16, 16), np.float32)},
            "15 positions of patches",
        ),
    ],
)
def test_what_does_not_fit_is_listed_in_one_line(change: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        convert(rename("dinov2_hf", tmp_path / "m", change))
    assert "\n" not in str(caught.value)


def test_all_faults_stand_in_one_line(tmp_path: Path) -> None:
    def change(tensors: dict) -> dict:
        tensors = without("layer.0.mlp.fc1.bias")(tensors)
        return {**tensors, "extra.0.a": np.ones(1), "extra.1.a": np.ones(1), "layernorm.bias": np.ones(3)}

    with pytest.raises(ConfigError) as caught:
        convert(rename("dinov2_hf", tmp_path / "m", change))
    for part in ("extra.*.a (2 times)", "layernorm.bias has shape [3]", "blocks/fc1/bias of block 0"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("case", "args", "message"),
    [
        ("dinov2_hf", ["--family", "clip"], "holds no metaclip image encoder"),
        ("dinov2_hf", ["--family", "resnet"], "--family is resnet"),
        ("dinov2_hf", ["--arch", "vitb14"], "which is not --arch vitb14"),
        ("dinov2_hf", ["--arch", "vitz"], "--arch vitz is unknown; known: vits14"),
        ("dinov2_hf", ["--heads", "4"], "--heads is 4, and the config file"),
        ("dinov2_hf", ["--image-size", "18"], "image size 18 is not a multiple of patch size 4"),
        ("dinov2_hf", ["--image-size", "0"], "--image-size is 0"),
        ("dinov2_hf", ["--branch", "target"], "--branch is target, and dinov2_hf holds one encoder"),
        ("ijepa_hf", ["--positions", "cubic"], "--positions cannot be 'cubic'"),
        ("dinov2_meta", [], "does not specify its number of attention heads"),
        ("dinov2_meta", ["--heads", "3"], "3 heads do not divide the width 16"),
        ("metaclip_pt", ["--arch", "b32"], "which is not --arch b32"),
    ],
)
def test_wrong_arguments(case: str, args: list[str], message: str, tmp_path: Path, capsys: Any) -> None:
    assert main([str(path_of(case)), "--out", str(tmp_path / "model"), *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"text_model.embeddings.token_embedding.weight": np.ones(2)}, "text encoder and no image encoder"),
        ({"token_embedding.weight": np.ones(2)}, "text encoder and no image encoder"),
        (
            {"conv1.weight": np.ones(2)},
            r"of no known family \(ijepa, dinov2, metaclip, vit\); its keys are conv1.weight",
        ),
        # Parts of a vision transformer.
        ({k: np.ones(2) for k in ("cls_token", "pos_embed", "blocks.0.attn.qkv.weight")}, "no known family"),
    ],
)
def test_other_models_are_refused(tensors: dict, message: str, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=message):
        convert(tmp_path)
    assert score([str(tmp_path), "--data", "digits"]) == 2


@pytest.mark.parametrize(
    ("path", "message"), [("nothing", "does not exist"), ("empty", "no config.json"), ("notes.txt", "neither")]
)
def test_score_of_what_is_no_model(path: str, message: str, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    assert score([str(tmp_path / path), "--data", "digits"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_is_asked_of_views_and_options(tmp_path: Path, capsys: Any) -> None:
    np.save(tmp_path / "x.npy", images(16))
    data = ["--data", str(tmp_path / "x.npy"), "--out", str(tmp_path / "x.csv")]
    assert score([str(path_of("ijepa_hf")), *data, "--views", "2"]) == 2
    assert "trained elsewhere" in capsys.readouterr().err
    write(convert(path_of("ijepa_hf")), tmp_path / "m")
    with pytest.raises(TypeError, match="only foreign weights"):
        jepa_jax.load(tmp_path / "m", heads=2)


# The tables.


@pytest.mark.parametrize("layout", [layout for family in FAMILIES for layout in family.layouts], ids=lambda a: a.name)
def test_no_key_has_two_lines(layout: Any) -> None:
    sources = [rule.source for rule in layout.rules]
    assert len(set(sources)) == len(sources)
    for rule in layout.rules:
        key = rule.source.replace("{i}", "3")
        assert not any(__import__("re").fullmatch(e, key) for e, _ in layout.ignored), key


def test_a_piece_that_is_there_twice_or_beyond_the_blocks() -> None:
    from jepa_jax.pretrained.reading import Tensor

    def tensor(*shape: int) -> Tensor:
        return Tensor(shape, np.dtype(np.float32), lambda: np.ones(shape, np.float32))

    rules = (Rule("b.{i}.g", "blocks/g"), Rule("t", "t", rows))
    abstract = {"blocks": {"g": np.zeros((2, 3))}, "t": np.zeros((1, 3))}
    tensors = {"b.0.g": tensor(3), "b.1.g": tensor(3), "t": tensor(1, 1, 3), "junk": tensor(1)}
    pieces, unknown, left_out = match(tensors, rules, (("junk", "why"),))
    check(pieces, unknown, abstract)
    assert left_out == {"junk": "why"}
    pieces, unknown, _ = match({**tensors, "b.2.g": tensor(3)}, rules, (("junk", "why"),))
    with pytest.raises(ConfigError, match=r"b\.2\.g"):
        check(pieces, unknown, abstract)
    pieces, unknown, _ = match({**tensors, "b.01.g": tensor(3)}, rules, (("junk", "why"),))
    assert unknown == ["b.01.g"]


# Positions.


@pytest.mark.parametrize("kind", ["bicubic", "bicubic-offset", "bicubic-antialias"])
@pytest.mark.parametrize(("native", "side"), [(37, 16), (16, 37), (4, 2), (7, 8)])
def test_interpolation_keeps_constants_and_inner_lines(kind: Any, native: int, side: int) -> None:
    matrix = weights(native, side, kind)
    assert matrix.shape == (side, native)
    np.testing.assert_allclose(matrix.sum(1), 1, rtol=1e-12)
    line = matrix @ (np.arange(native) + 0.5)
    exact = (np.arange(side) + 0.5) * native / (side + 0.1 * (kind == "bicubic-offset"))
    inner = slice(2 * side // native + 1, -(2 * side // native + 1))
    # A cubic kernel does not reproduce lines where it is stretched to average; it is symmetric, so it nearly does.
    np.testing.assert_allclose(line[inner], exact[inner], atol=0.05 * max(1, native / side))


def test_positions_stay_where_the_grid_does() -> None:
    positions = np.random.default_rng(0).standard_normal((17, 8)).astype(np.float32)
    assert resize_positions(positions, 1, (4, 4), (4, 4), "bicubic") is positions
    resized = resize_positions(positions, 1, (4, 4), (6, 6), "bicubic")
    assert resized.shape == (37, 8)
    np.testing.assert_array_equal(resized[0], positions[0])
    with pytest.raises(ValueError, match="not 1 and 4 x 4"):
        resize_positions(positions[:16], 1, (4, 4), (6, 6), "bicubic")


def test_the_kernels_differ_where_they_should() -> None:
    """Shrinking by an integer factor k, the antialiased one averages over 4 k patches, the others read four."""
    assert (np.abs(weights(32, 8, "bicubic-antialias")) > 1e-9).sum(1).max() == 16
    assert (np.abs(weights(32, 8, "bicubic")) > 1e-9).sum(1).max() == 4
    np.testing.assert_allclose(weights(8, 4, "bicubic")[1, 1:5], [-0.09375, 0.59375, 0.59375, -0.09375])


# Memory.

PEAK = """
import sys, jax
from benchmarks.report import process_memory
from jepa_jax.pretrained import Options, convert
jax.devices()  # loads what is installed for other devices, which is not of the weights
before = process_memory()
encoder = convert(sys.argv[1], Options(heads=8)).encoder
print(process_memory() - before, sum(a.nbytes for a in jax.tree.leaves(encoder)))
"""


def test_of_a_checkpoint_only_what_is_wanted_is_read_and_only_once(tmp_path: Path) -> None:
    """Two encoders and an optimiser's state, of which one encoder is wanted: the memory is that of its parameters."""
    config = ViT(32, 16, 512, 12, 8, class_token=False, pooling="mean")
    target = {f"module.{k}": v for k, v in random_tensors(config, ORIGINAL_LAYOUT)}
    moments = {i: {"exp_avg": a * 2, "exp_avg_sq": a + 1} for i, a in enumerate(target.values())}
    tree = {"encoder": {k: a + 1 for k, a in target.items()}, "target_encoder": target, "opt": {"state": moments}}
    save_torch_zip(tmp_path / "jepa.pth.tar", tree)
    del tree, moments, target
    output = subprocess.check_output([sys.executable, "-c", PEAK, str(tmp_path / "jepa.pth.tar")], text=True)
    growth, parameters = map(int, output.split())
    assert parameters > 150e6
    assert (tmp_path / "jepa.pth.tar").stat().st_size > 3.9 * parameters
    assert growth < 1.1 * parameters + 40e6
