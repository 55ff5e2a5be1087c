"""Names of devices, and what is said of one that is unknown or cannot be compiled for."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import jax
import pytest

from jepa_jax.ahead import find_target, open_target, present_target, targets
from jepa_jax.errors import ConfigError
from score.__main__ import main as score
from tests.helpers.runs import TrainedRuns
from train.__main__ import main as train

GB = 10**9


@pytest.mark.parametrize(
    ("name", "platform", "topology", "memory"),
    [
        ("v5e:2x4", "tpu", "v5e:2x4", 16),
        ("v6e:2x2", "tpu", "v6e:2x2", 32),
        ("v5p:2x2x1", "tpu", "v5p:2x2x1", 95),
        ("tpu7x:2x2x1", "tpu", "tpu7x:2x2x1", 96),
        ("h100", "gpu", "1x1x1", 80),
        ("h100x8", "gpu", "1x1x8", 80),
        ("h200", "gpu", "1x1x1", 141),
    ],
)
def test_names(name: str, platform: str, topology: str, memory: int) -> None:
    target = find_target(name)
    assert (target.name, target.chip.platform, target.topology) == (name, platform, topology)
    assert target.memory is not None
    assert 0.7 * memory * GB < target.memory < 1.15 * memory * GB  # a program may use a part of it
    assert target.chip.rates["bfloat16"] > 1e14


@pytest.mark.parametrize("name", targets.EXAMPLES)
def test_every_example_is_a_name(name: str) -> None:
    assert find_target(name).name == name


@pytest.mark.parametrize("name", ["v5e", "v5e:8", "v5e:2x2x2", "v5p:2x2", "h100x", "h100x9", "a100", "", "v5litepod-8"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be .*(did you mean|known: h100)"):
        find_target(name)


@pytest.mark.parametrize(
    ("sold", "name"),
    [
        ("v5litepod-8", "v5e:2x4"),
        ("v5litepod-16", "v5e:4x4"),
        ("v5e-1", "v5e:1x1"),
        ("v6e-4", "v6e:2x2"),
        ("v5p-8", "v5p:2x2x1"),  # TensorCores, of which a chip has two
        ("v5p-32", "v5p:2x2x4"),
        ("tpu7x-8", "tpu7x:2x2x1"),
        ("V5e", "v5e:2x4"),
        ("h100:8", "h100x8"),
    ],
)
def test_names_of_clouds_lead_to_ours(sold: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"cannot be {sold!r}; did you mean {name}\?"):
        find_target(sold)
    find_target(name)


def test_the_present_device() -> None:
    here = present_target()
    assert (here.chip.platform, here.memory) == ("cpu", None)
    assert open_target(here) == jax.devices()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("v5e:2x4", f'pip install "jax[tpu]=={jax.__version__}"'),
        ("h100", f"pip install jax-cuda12-plugin=={jax.__version__} jax-cuda12-pjrt=={jax.__version__} nvidia"),
    ],
)
def test_a_compiler_that_is_not_installed(name: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(module: str) -> None:
        raise ModuleNotFoundError(module)

    monkeypatch.setattr(importlib.util, "find_spec", nothing)
    monkeypatch.setattr(targets.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError) as caught:
        open_target(find_target(name))
    assert command in str(caught.value)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--target", "v5e:2x4"], "--dry-run"),
        (["--json", "x.json"], "--dry-run"),
        (["--dry-run", "--target", "h10"], "did you mean h100"),
        (["--dry-run", "--json", "x.txt"], "must end in .json"),
        (["--dry-run", "--json", "nowhere/x.json"], "there is no folder nowhere"),
    ],
)
@pytest.mark.parametrize("program", ["train", "score"])
def test_bad_options(program: str, args: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    status = train(["mixture_2d", *args]) if program == "train" else score(["no_model", "--data", "moons", *args])
    error = capsys.readouterr().err
    assert (status, error.count("\n")) == (2, 1)
    assert said in error


def test_a_score_for_the_devices_that_are_here(
    runs: TrainedRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "x.json"
    args = [
        str(runs / "normal"),
        "--data",
        "mixture_2d",
        "--limit",
        "7",
        "--dry-run",
        "--json",
        str(file),
        "--law",
        "knn",
    ]
    assert score(args) == 0
    out, notes = capsys.readouterr()
    assert "host callbacks: none" in out
    assert "--law knn is computed by the host" in notes
    (found,) = json.loads(file.read_text())
    assert found["fits"]
    assert found["program"] == f"the score of {7 + -7 % found['devices']} samples"
    assert not list((runs / "normal").glob("scores/*")), "nothing is scored"


def test_a_pilot_with_sketches(runs: TrainedRuns, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scores of the pilot and the sketches of all samples are programs of their own."""
    file = tmp_path / "x.json"
    args = [str(runs / "normal"), "--data", "mixture_2d", "--limit", "64", "--dry-run", "--devices", "1"]
    assert score([*args, "--pilot", "32", "--sketch", "1", "--json", str(file)]) == 0
    scored, sketched = json.loads(file.read_text())
    assert scored["program"] == "the score of 32 samples"
    assert sketched["program"] == "the sketch of 64 samples"
    assert "the sketch of 64 samples" in capsys.readouterr().out.replace("\n", " ")
    assert score([*args, "--pilot", "64"]) == 2
    assert "nothing is left to predict" in capsys.readouterr().err


def on_a_small_device(monkeypatch: pytest.MonkeyPatch, memory: int, *args: str) -> int:
    small: Any = targets.Target("a small device", targets.Chip("cpu", memory))
    monkeypatch.setattr("score.dry_run.present_target", lambda: small)
    return score([*args, "--dry-run", "--devices", "1"])


def test_a_program_beside_it_that_does_not_fit(
    runs: TrainedRuns, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    args = [str(runs / "normal"), "--data", "mixture_2d", "--limit", "8000", "--pilot", "32", "--sketch", "1"]
    assert on_a_small_device(monkeypatch, 100_000, *args) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "the sketch of" in error
    assert "take a smaller --batch-size" in error


def test_a_program_that_does_not_fit(
    runs: TrainedRuns, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Options are compiled until one suffices, and named in the one line of the error."""
    args = [str(runs / "normal"), "--data", "mixture_2d", "--limit", "4000"]
    assert on_a_small_device(monkeypatch, 300_000, *args) == 2
    out, error = capsys.readouterr()
    assert "trying --batch-size 1000" in out.replace("\n", " ")
    assert error.count("\n") == 1
    assert "lacks" in error
    assert "it fits with --batch-size" in error
