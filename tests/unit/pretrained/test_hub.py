"""Export in the form of Hugging Face: the folder is the model, to the bit, and names nothing of this machine."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
import yaml

import jepa_jax
from jepa_jax.initial_weights import read_initial_weights
from jepa_jax.pretrained.__main__ import main
from jepa_jax.run_dir import kind_of
from tests.helpers import GOLDEN
from tests.helpers.runs import TrainedRuns


def in_cache(folder: Path, cache: Path) -> Path:
    """Put the files of a folder where a hub's cache would have them: links into a snapshot."""
    snapshot = cache / "models--me--mine/snapshots/0123abcd"
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        (snapshot / file.name).symlink_to(file)
    return cache / "models--me--mine"


@pytest.mark.parametrize("name", ["normal", "images", "dinov2"])
def test_the_folder_is_the_model(name: str, runs: TrainedRuns, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Weights, functions and preprocessing are equal, also where the folder lies in a cache."""
    model, out = GOLDEN / "dinov2_hf" if name == "dinov2" else runs / name, tmp_path / "mine"
    assert main([str(model), "--to-hf", str(out), "--license", "Apache-2.0"]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    files = {"model.safetensors", "config.json", "README.md"}
    assert {file.name for file in out.iterdir()} - {"statistics.npz"} == files
    before = jepa_jax.load(model)
    for path in (out, in_cache(out, tmp_path / "cache")):
        after = jepa_jax.load(path)
        jax.tree.map(np.testing.assert_array_equal, after.params, before.params)
        assert (after.shape, after.dim, after.base) == (before.shape, before.dim, before.base)
        assert after.preprocessing == before.preprocessing
    x = jax.random.normal(jax.random.key(0), before.shape)
    np.testing.assert_array_equal(after(x), before(x))
    assert read_initial_weights(str(out)).shape == before.shape  # training may start from it
    assert str(tmp_path.parent) not in (out / "config.json").read_text()
    _, front, text = (out / "README.md").read_text().split("---\n", 2)
    found = yaml.safe_load(front)
    assert (found["license"], found["library_name"]) == ("apache-2.0", "jepa-jax")
    assert ("pipeline_tag" in found) == (name != "normal")
    assert "jepa_jax.load" in text
    assert main([str(model), "--to-hf", str(out), "--license", "mit"]) == 0  # an export is replaced


def test_a_licence_that_is_stated_is_taken(tmp_path: Path) -> None:
    """One of a timm config is the identifier itself, which a converted model keeps as a sentence."""
    out = tmp_path / "converted"
    assert main([str(GOLDEN / "dinov2_hf"), "--out", str(out)]) == 0
    tree = json.loads((out / "config.json").read_text())
    tree["origin"]["licence"] = "config.json states cc-by-nc-4.0."
    (out / "config.json").write_text(json.dumps(tree))
    assert main([str(out), "--to-hf", str(tmp_path / "hf")]) == 0
    assert "\nlicense: cc-by-nc-4.0\n" in (tmp_path / "hf/README.md").read_text()
    assert kind_of(tmp_path / "hf") == "converted"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["RUN", "--to-hf", "new"], "states no licence, which a card needs; name it: --license"),
        (["RUN", "--to-hf", "new", "--license", "my own: x"], "--license is 'my own: x'; it is one word"),
        (["RUN", "--to-hf", "full", "--license", "mit"], "full exists and is not a"),
        (["RUN", "--to-hf", "new", "--out", "other", "--license", "mit"], "name the folder to write"),
        (["RUN", "--out", "new", "--license", "mit"], "--license belongs to --to-hf"),
        (["nowhere", "--to-hf", "new", "--license", "mit"], "nowhere does not exist"),
    ],
)
def test_what_is_wrong_is_one_line(
    args: list[str],
    says: str,
    runs: TrainedRuns,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    assert main([str(runs / "normal") if arg == "RUN" else arg for arg in args]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "new").exists()


def test_weights_of_another_network(runs: TrainedRuns, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    assert main([str(runs / "normal"), "--to-hf", str(out), "--license", "mit"]) == 0
    weights = out / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(jepa_jax.ConfigError, match=r"model.safetensors is damaged: .*; download it again"):
        jepa_jax.load(out)
    tree = json.loads((out / "config.json").read_text())
    tree["encoder"]["widths"] = [17]
    (out / "config.json").write_text(json.dumps(tree))
    with pytest.raises(jepa_jax.ConfigError, match=r"is damaged"):
        jepa_jax.load(out)
    with pytest.raises(jepa_jax.ConfigError, match="was exported and has one set of weights"):
        jepa_jax.load(out, step="best")
