"""The encoder in a file: found wherever it lies, the evaluated one of several, and no part of it is lost."""

from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import Options, convert, open_weights
from jepa_jax.pretrained.blocks import numbered
from tests.helpers import GOLDEN
from tests.helpers.foreign import Global, save_torch_zip

State = dict[str, np.ndarray]
FILES = {"dino": "dinov2_meta/dinov2_pretrain.pth", "clip": "metaclip_pt/b32_400m.pt", "hf": "clip_hf_full"}


@cache
def state(name: str) -> State:
    """The tensors of a golden file."""
    return {
        k: np.array(t.read()) for group in open_weights(GOLDEN / FILES[name]).groups.values() for k, t in group.items()
    }


def below(prefix: str, tensors: State, shift: float = 0) -> State:
    return {prefix + key: a + np.float32(shift) for key, a in tensors.items()}


def dino(prefix: str = "", shift: float = 0) -> State:
    return below(prefix, state("dino"), shift)


def converted(tree: Any, folder: Path, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the bias of the last norm, beside which the others stand as they do in the file, and the origin."""
    save_torch_zip(folder / "a.pth", tree)
    result = convert(folder / "a.pth", Options(heads=2, **options))
    return result.params["norm"]["bias"], result.origin


HEAD = {"mlp.0.weight": np.ones((3, 3), np.float32), "last_layer.weight_g": np.ones(3, np.float32)}


# What a file holds, and the role and the prefix of the encoder. That which is right has no shift.
PLACES: dict[str, tuple[Any, str | None, str]] = {
    "bare": (dino(), None, ""),
    "compiled": (dino("_orig_mod."), None, "_orig_mod."),
    "both": (dino("module._orig_mod."), None, "module._orig_mod."),
    "any name": (dino("a.b_c.0.net."), None, "a.b_c.0.net."),
    "Lightning": ({"state_dict": dino("model.") | below("criterion.", HEAD), "epoch": 3}, None, "model."),
    "dicts": ({"model": {"state_dict": dino("module.")}, "optimizer": {"state": {0: HEAD}}}, None, "module."),
    "in one dict": ({"teacher": {"backbone": dino(), "dino_head": HEAD}}, "teacher", ""),
    "head on top": (dino() | below("dino_head.", HEAD) | below("projector.", HEAD) | below("head.0.", HEAD), None, ""),
    "teacher": ({"student": dino("module.backbone.", 1), "teacher": dino("backbone.")}, "teacher", "backbone."),
    "flat": (dino("student.backbone.", 1) | dino("teacher.backbone."), "teacher", "teacher.backbone."),
    "inside": (dino("", 1) | dino("teacher."), "teacher", "teacher."),
    "target": ({"encoder": dino("module.", 1), "target_encoder": dino("module.")}, "target_encoder", "module."),
    "timm": ({"state_dict": dino("", 1), "state_dict_ema": dino()}, "state_dict_ema", ""),
    "deit": ({"model": dino("", 1), "model_ema": dino()}, "model_ema", ""),
    "wrapper": (dino("model.", 1) | dino("ema.module."), "ema", "ema.module."),
    "moco": (
        {"state_dict": dino("module.encoder_q.") | dino("module.encoder_k.", 1)},
        "encoder_q",
        "module.encoder_q.",
    ),
    "byol": (dino("online_network.") | dino("target_network.", 1), "online_network", "online_network."),
    "averages of both": (
        {
            "state_dict": dino("student.", 1) | dino("teacher.", 2),
            "ema_state_dict": dino("student.", 3) | dino("teacher."),
        },
        "ema_state_dict",
        "teacher.",
    ),
}


@pytest.mark.parametrize("case", PLACES)
def test_the_evaluated_encoder_is_found(case: str, tmp_path: Path) -> None:
    tree, role, prefix = PLACES[case]
    bias, origin = converted(tree, tmp_path)
    np.testing.assert_array_equal(bias, state("dino")["norm.bias"])
    if case != "averages of both":  # its label is that of two; the place tells them apart
        assert origin["role"] == role
    assert origin["prefix"] == prefix
    assert (role is None) == (not any("several encoders" in note for note in origin["notes"])) or case == "in one dict"
    assert all(a.dtype == np.float32 for a in jax.tree.leaves(bias))


@pytest.mark.parametrize(
    ("case", "branch", "shift"),
    [
        ("teacher", "student", 1),
        ("teacher", "teacher", 0),
        ("flat", "Student", 1),
        ("target", "context", 1),
        ("target", "encoder", 1),
        ("target", "target", 0),
        ("timm", "raw", 1),
        ("timm", "state_dict", 1),
        ("deit", "ema", 0),
        ("moco", "encoder_k", 1),
        ("averages of both", "student", 3),
        ("in one dict", "teacher", 0),
    ],
)
def test_another_encoder_is_taken_by_its_name(case: str, branch: str, shift: int, tmp_path: Path) -> None:
    bias, origin = converted(PLACES[case][0], tmp_path, branch=branch)
    np.testing.assert_array_equal(bias, state("dino")["norm.bias"] + np.float32(shift))
    assert origin["role"]


@pytest.mark.parametrize(
    ("tree", "options", "words"),
    [
        ({"a": dino(), "b": dino("", 1)}, {}, "holds several encoders: a, b; choose one with `branch`"),
        (
            PLACES["teacher"][0],
            {"branch": "tutor"},
            "`branch` is tutor, and the encoders in a.pth are student, teacher",
        ),
        ({"model": dino()}, {"branch": "ema"}, "`branch` is ema, and a.pth holds one encoder"),
        # A teacher of another size is not the moving average of its student.
        (
            {
                "student": dino(),
                "teacher": {k: np.repeat(a, 2, 0) if k == "norm.bias" else a for k, a in dino().items()},
            },
            {},
            "several encoders: student, teacher; choose",
        ),
        (dino("model.") | {"model.extra.weight": np.ones(2)}, {}, "belong to no parameter: extra.weight"),
        (dino("model.") | {"model.norm.bias": Global("numpy", "ndarray")}, {}, "model.norm.bias of a.pth is no plain"),
        ({k: a for k, a in dino("m.").items() if "blocks.1.norm1.bias" not in k}, {}, "norm1/bias of block 1"),
        ({"state": {"a": {"exp_avg": np.ones(2)}}, "param_groups": [1]}, {}, "the state of an optimizer"),
        ({"state": {0: {"exp_avg": np.ones(2)}}, "param_groups": [1]}, {}, "the state of an optimizer"),
        ({"bert.embeddings.word_embeddings.weight": np.ones((3, 2))}, {}, "a text encoder and no image encoder"),
    ],
)
def test_what_is_not_clear_is_an_error(tree: Any, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        converted(tree, tmp_path, **options)
    assert len(str(caught.value).splitlines()) == 1


def test_two_families_in_one_file(tmp_path: Path) -> None:
    tree = dino("dino.") | below("clip.", state("clip"))
    with pytest.raises(ConfigError, match=r"several encoders: dino, clip; choose"):
        converted(tree, tmp_path)
    for options in ({"branch": "clip"}, {"family": "metaclip"}):
        bias, origin = converted(tree, tmp_path, **options)
        np.testing.assert_array_equal(bias, state("clip")["module.visual.ln_post.bias"])
        assert "text tower" in " ".join(origin["left_out"].values())


@pytest.mark.parametrize("place", ["", "image_encoder.", "model.vision_tower."])
def test_an_image_tower_of_open_clip_by_another_name(place: str, tmp_path: Path) -> None:
    tower = {key.removeprefix("module.visual."): a for key, a in state("clip").items() if ".visual." in key}
    text = {key: a for key, a in state("clip").items() if ".visual." not in key}
    save_torch_zip(tmp_path / "a.pt", below(place, tower) | (below("text.", text) if place else {}))
    found, whole = (convert(path, Options(heads=2)) for path in (tmp_path / "a.pt", GOLDEN / FILES["clip"]))
    jax.tree.map(np.testing.assert_array_equal, found.params, whole.params)
    assert found.origin["prefix"] == place


@pytest.mark.parametrize("prefix", ["", "model.", "net.clip."])
def test_the_projection_beside_the_tower_is_not_lost(prefix: str, tmp_path: Path) -> None:
    """In transformers' names it lies outside the module that holds the tower."""
    save_torch_zip(tmp_path / "a.pth", below(prefix, state("hf")) | below("head.", HEAD))
    found, whole = convert(tmp_path / "a.pth", Options(heads=2)), convert(GOLDEN / "clip_hf_full")
    jax.tree.map(np.testing.assert_array_equal, found.params, whole.params)
    assert found.origin["prefix"] == f"{prefix}vision_model."
    assert found.origin["left_out"]["head.*"] == "beside the encoder (2 tensors)"


def test_a_projection_that_is_not_read_is_said(tmp_path: Path) -> None:
    """A linear map from the width of the encoder beside it, unless it is that of the text or a head of training."""
    width = state("dino")["norm.bias"].size
    tree = dino("vision.net.") | {"vision_proj.weight": np.ones((5, width), np.float32)}
    others = {"text_proj.weight": np.ones((5, width)), "head.proj.weight": np.ones((5, width + 1))}
    for name, more, said in (
        ("nothing", others | below("projector.", HEAD), 0),
        ("one", others, 1),
    ):
        folder = tmp_path / name
        folder.mkdir()
        notes = converted((tree if said else dino("vision.net.")) | more, folder)[1]["notes"]
        found = [note for note in notes if "is not applied" in note]
        assert len(found) == said, found
        assert all(note.startswith("vision_proj.weight beside the encoder may be its projection") for note in found)


@pytest.mark.parametrize("place", ["", "image_encoder.", "model.vision."])
def test_a_tower_of_timm_by_another_name_keeps_its_projection(place: str, tmp_path: Path) -> None:
    tower = {k: a for k, a in state("dino").items() if ".ls" not in k and "mask" not in k}
    head = {"head.proj.weight": np.arange(5 * tower["norm.bias"].size, dtype=np.float32).reshape(5, -1)}
    save_torch_zip(tmp_path / "a.pt", below(f"{place}trunk.", tower) | below(place, head) | {"logit_scale": np.ones(1)})
    found = convert(tmp_path / "a.pt", Options(heads=2))
    np.testing.assert_array_equal(found.params["projection"]["kernel"], head["head.proj.weight"].T)
    assert (found.origin["family"], found.origin["prefix"]) == ("metaclip", place)
    save_torch_zip(tmp_path / "b.pt", below("visual.trunk.", tower) | below("visual.", head))
    known = convert(tmp_path / "b.pt", Options(heads=2))
    jax.tree.map(np.testing.assert_array_equal, found.params, known.params)
    # Registers, and no position of the class token, as timm keeps them.
    tower |= {"reg_token": np.ones((1, 3, 16), np.float32), "pos_embed": tower["pos_embed"][:, 1:]}
    save_torch_zip(tmp_path / "c.pt", below("visual.trunk.", tower) | below("visual.", head))
    assert convert(tmp_path / "c.pt", Options(heads=2)).config.registers == 3


def test_wrappers_inside_the_encoder(tmp_path: Path) -> None:
    tree = {key.replace("blocks.1.", "blocks.1._checkpoint_wrapped_module."): a for key, a in dino().items()}
    np.testing.assert_array_equal(converted(tree, tmp_path)[0], state("dino")["norm.bias"])


# Blocks in chunks.


@pytest.mark.parametrize(
    ("chunked", "expected"),
    [
        (["0.0", "0.1", "1.2", "1.3"], ["0", "1", "2", "3"]),  # Meta's: an index counts all blocks
        (["0.0", "0.1", "1.0", "1.1", "2.0"], ["0", "1", "2", "3", "4"]),  # those of its chunk
        (["0.0", "1.0", "2.0"], ["0", "1", "2"]),
        (["0.0", "1.2"], ["0", "2"]),  # a lost block stays lost
        (["0.0", "0.1", "1.0", "2.0", "2.1"], None),
        (["0.0", "0.1", "2.0", "2.1"], None),
        (["0.0", "1"], None),
        (["0", "1"], None),
    ],
)
def test_blocks_are_counted_through(chunked: list[str], expected: list[str] | None) -> None:
    found = numbered({f"blocks.{number}.x": number for number in chunked} | {"norm": ""}, "blocks")
    assert list(found) == [f"blocks.{number}.x" for number in expected or chunked] + ["norm"]
    assert list(found.values()) == [*chunked, ""]


def test_an_encoder_in_chunks(tmp_path: Path) -> None:
    tree = {key.replace("blocks.", "blocks.0.") if "blocks.0" in key else key for key in dino()}
    tree = {f"backbone.{key}".replace("blocks.", "blocks.{c}."): a for key, a in dino().items()}
    tree = {key.replace("{c}", key.split("{c}.")[-1][0]): a for key, a in tree.items()}
    assert "backbone.blocks.1.1.norm1.bias" in tree
    save_torch_zip(tmp_path / "a.pth", OrderedDict(teacher=OrderedDict(tree)))
    whole = convert(GOLDEN / FILES["dino"], Options(heads=2))
    jax.tree.map(np.testing.assert_array_equal, convert(tmp_path / "a.pth", Options(heads=2)).params, whole.params)
