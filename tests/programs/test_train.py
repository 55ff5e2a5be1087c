"""The training program: resume, stopping, options, verdicts."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from rich.console import Console

import jepa_jax
from jepa_jax.checkpoint import saved_steps
from jepa_jax.config import MLP, Config, Data, Monitor, Objective, Optim, Pair
from jepa_jax.data import Source, open_source
from jepa_jax.data.installed import INSTALLED
from jepa_jax.errors import ConfigError
from jepa_jax.resolve import resolve
from jepa_jax.training.step import STEPS_PER_DISPATCH, Trainer, make_trainer
from score import __main__ as score_program
from tests.helpers.installed import made_up
from tests.helpers.runs import CHECKPOINTED, TrainedRuns
from train import __main__ as program
from train.clock import next_dispatch, next_event
from train.config_files import config_module, config_names, find_config
from train.log import MetricsLog, read_rows
from train.loop import TrainingError, train

QUIET = Console(file=io.StringIO())
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`


def small(**changes) -> Config:
    """A run of seconds."""
    config = CHECKPOINTED
    for path, value in changes.items():
        room, _, name = path.partition("__")
        config = dataclasses.replace(
            config, **{room: dataclasses.replace(getattr(config, room), **{name: value}) if name else value}
        )
    return config


@pytest.fixture
def finished(runs: TrainedRuns, tmp_path: Path) -> Path:
    """A copy of a finished run of `small()`."""
    return Path(shutil.copytree(runs / "checkpointed", tmp_path / "finished"))


def rows_without_time(out: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "samples_per_second"} for row in read_rows(out / "metrics.jsonl")]


def same_weights(a: Path, b: Path) -> bool:
    pairs = zip(jax.tree.leaves(jepa_jax.load(a).params), jax.tree.leaves(jepa_jax.load(b).params), strict=True)
    return all(np.array_equal(x, y) for x, y in pairs)


def test_the_files_of_a_run(tmp_path):
    summary = train(small(monitor__figures=True), tmp_path, QUIET)
    rows = read_rows(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in rows] == [10, 20, 30, 40]
    every = {"step", "loss", "prediction", "anti_collapse", "grad_norm", "embedding/effective_rank"}
    assert all(every | {"samples_per_second"} <= set(r) for r in rows)
    looks = {"density/score_mean", "density/clipped", "density/spearman", "density/pearson"}
    assert [looks <= set(r) for r in rows] == [False, True, False, True]
    written = json.loads((tmp_path / "summary.json").read_text())
    assert written["density/spearman"] == rows[-1]["density/spearman"]
    assert summary["step"] == 40
    assert saved_steps(tmp_path) == [20, 40]
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    drawn = {f"density_{step:07d}.png" for step in (0, 20, 40)}
    assert names == {"density.png", "density.gif", *drawn}


@pytest.mark.parametrize(
    "changes",
    [{}, {"recipe__ema": 0.9, "recipe__predictor": (16,), "optim__ema": 0.9}, {"data__source": "digits"}],
    ids=["plain", "teacher, predictor, average", "rows"],
)
def test_resume_is_bit_identical(tmp_path, monkeypatch, changes):
    config = small(**changes)
    train(config, tmp_path / "whole", QUIET)
    write = MetricsLog.write

    def dies_at_30(self, row):
        write(self, row)
        if row["step"] == 30:
            raise KeyboardInterrupt

    monkeypatch.setattr(MetricsLog, "write", dies_at_30)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "cut", QUIET)
    assert saved_steps(tmp_path / "cut") == [20]
    assert not (tmp_path / "cut" / "summary.json").exists()
    monkeypatch.undo()
    train(config, tmp_path / "cut", QUIET)
    assert rows_without_time(tmp_path / "cut") == rows_without_time(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_resume_after_sigkill(tmp_path):
    steps = 3000

    def start(out: Path) -> subprocess.Popen:
        args = ["mixture_2d", "--out", str(out), "--steps", str(steps), "--encoder.widths", "16", "--data.batch-size"]
        args += ["64", "--monitor.every", "0", "--monitor.no-figures", "--checkpoint.every", "300"]
        return subprocess.Popen([sys.executable, "-m", "train", *args], stderr=subprocess.DEVNULL)

    assert start(tmp_path / "whole").wait(300) == 0
    process = start(tmp_path / "cut")
    deadline = time.time() + 200
    while not saved_steps(tmp_path / "cut") and time.time() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert saved_steps(tmp_path / "cut")[-1] < steps
    assert start(tmp_path / "cut").wait(300) == 0
    assert rows_without_time(tmp_path / "cut") == rows_without_time(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


def test_a_finished_run_is_left_as_it_is(finished):
    before = rows_without_time(finished)
    said = io.StringIO()
    train(small(), finished, Console(file=said, soft_wrap=True))
    assert "is finished" in said.getvalue()
    assert rows_without_time(finished) == before


def test_steps_per_dispatch_change_nothing():
    config = small()
    source = open_source(config.data)
    trainer = make_trainer(resolve(config, source), source)
    once, rows = trainer.run(trainer.init(), source.arrays, 0, 12)
    cut, first = trainer.run(trainer.init(), source.arrays, 0, 5)
    cut, second = trainer.run(cut, source.arrays, 5, 12)
    assert np.array_equal(rows[:12], np.concatenate([first[:5], second[:7]]))
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(once), jax.tree.leaves(cut), strict=True))


def test_the_target_and_the_average_trail_the_encoder():
    config = small(recipe__ema=0.9, optim__ema=0.99, optim__warmup_steps=0)
    source = open_source(config.data)
    trainer = make_trainer(resolve(config, source), source)
    start = jax.device_get(trainer.init())
    state, _ = trainer.run(trainer.init(), source.arrays, 0, 1)
    moved = lambda tree: np.asarray(tree["network"]["network"]["dense_0"]["kernel"])  # noqa: E731
    before, after = moved(start["params"]["encoder"]), moved(state["params"]["encoder"])
    assert np.abs(after - before).max() > 1e-5
    np.testing.assert_allclose(moved(state["teacher"]["encoder"]), 0.9 * before + 0.1 * after, atol=1e-6)
    decay = 1 / 11  # a young average forgets: step / (step + 10)
    np.testing.assert_allclose(moved(state["ema"]), decay * before + (1 - decay) * after, atol=1e-6)
    mean = state["params"]["encoder"]["input"]["mean"]
    assert np.array_equal(mean, start["params"]["encoder"]["input"]["mean"])


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(tmp_path, capsys):
    args = ["mixture_2d", "--steps", "60", "--encoder.widths", "16", "--encoder.output", "free", "--data.batch-size"]
    args += ["32", "--objective.anti-collapse", "vicreg", "--monitor.no-figures", "--monitor.every", "0"]
    args += ["--checkpoint.every", "1", "--optim.warmup-steps", "0", "--optim.lr", "1e18", "--out", str(tmp_path)]
    assert program.main(args) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "not finite" in error
    assert "--optim.lr" in error
    step = int(error.split("step ")[1].split(":")[0])
    assert saved_steps(tmp_path)[-1:] == [step - 1] or step == 1
    assert not (tmp_path / "summary.json").exists()
    assert all(r["step"] < step for r in read_rows(tmp_path / "metrics.jsonl"))


def test_training_error_names_the_step(tmp_path):
    with pytest.raises(TrainingError, match=r"step \d+: .* not finite"):
        train(small(optim__lr=1e30, optim__warmup_steps=0, objective__anti_collapse="vicreg"), tmp_path, QUIET)


def test_a_directory_of_another_config_is_refused(finished):
    before = (finished / "config.json").read_bytes()
    with pytest.raises(ConfigError, match="seed is 0 there, 1 here"):
        train(small(seed=1), finished, QUIET)
    assert (finished / "config.json").read_bytes() == before


def test_a_damaged_checkpoint_is_named(finished):
    for file in (finished / "checkpoints" / "40" / "params").rglob("*"):
        if file.is_file():
            file.write_bytes(b"junk")
    for use in (lambda: train(small(), finished, QUIET), lambda: jepa_jax.load(finished)):
        with pytest.raises(ConfigError, match=r"checkpoints/40 is damaged.*continue from step 20") as raised:
            use()
        assert "\n" not in str(raised.value)


def test_a_checkpoint_of_another_architecture_is_refused(finished):
    path = finished / "config.json"
    path.write_text(path.read_text().replace('"dim": 8', '"dim": 9'))
    with pytest.raises(ConfigError, match="another architecture"):
        jepa_jax.load(finished)


def test_without_an_anti_collapse_term_the_verdict_is_collapse(tmp_path):
    summary = train(small(steps=300, objective__anti_collapse="none", optim__lr=1e-2), tmp_path, QUIET)
    assert summary["health"] in ("collapsed", "low-rank")


def test_a_target_that_follows_its_prediction_collapses(tmp_path):
    """The teacher of a predictor needs a stopped gradient: trained with it, both agree on a point."""
    config = Config(
        steps=400,
        data=Data("mixture_8d", batch_size=128),
        encoder=MLP(widths=(64, 64), dim=16),
        recipe=Pair(predictor=(32,), direction="forward", stop_gradient=False),
        objective=Objective("none"),
        optim=Optim(lr=3e-3),
        monitor=Monitor(every=200, probes=256, figures=False),
    )
    assert train(config, tmp_path, QUIET)["health"] == "collapsed"


CONFIGS = [n for n in config_names() if not n.startswith(("cifar10_", "imagenet_"))]


def trainer_of(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Trainer, Source]:
    """The functions of a config and small data for it."""
    config = find_config(name)[1]
    if config.data.source in INSTALLED:
        monkeypatch.setitem(INSTALLED, config.data.source, partial(made_up, config.data.source))
    if not config.data.source:  # the configs for one's own data
        np.save(folder / "vectors.npy", np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32))
        own = str(folder / "vectors.npy") if name.startswith("arrays") else "digits"
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, source=own))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=16))
    source = open_source(config.data)
    return make_trainer(resolve(config, source), source), source


@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_builds(name, tmp_path, monkeypatch):
    """Its step is traced, and keeps the form of the state; nothing is compiled."""
    trainer, source = trainer_of(name, tmp_path, monkeypatch)
    state = trainer.state
    after, rows = jax.eval_shape(trainer.run, state, source.arrays, 0, 2)
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(lambda a: (a.shape, a.dtype), state)
    assert rows.shape == (STEPS_PER_DISPATCH, 4)
    assert config_module(name).__doc__


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_every_config_steps(name, tmp_path, monkeypatch):
    trainer, source = trainer_of(name, tmp_path, monkeypatch)
    _, rows = trainer.run(trainer.init(), source.arrays, 0, 2)
    assert np.isfinite(rows[:2]).all()


def test_events_come_in_order():
    config = small(steps=45, monitor__every=0)
    step, seen = 0, []
    while step < config.steps:
        step = next_event(step, config)
        seen.append(step)
    assert seen == [10, 20, 30, 40, 45]


@pytest.mark.parametrize(("steps", "seconds", "wanted"), [(4, 1e-9, 16), (100, 0.5, 100), (10, 50.0, 1)])
def test_dispatches_last_about_half_a_second(steps, seconds, wanted):
    assert next_dispatch(steps, seconds) == wanted


BAD = {
    "unknown config": (["mixtre_2d"], "did you mean mixture_2d"),
    "unknown field": (["mixture_2d", "--data.batchsize", "3"], "--data.batch-size"),
    "unknown world": (["mixture_2d", "--data.source", "monns"], "did you mean moons"),
    "unknown term": (["mixture_2d", "--objective.anti-collapse", "sigre"], "did you mean sigreg"),
    "no steps": (["mixture_2d", "--steps", "0"], "--steps is 0"),
    "not finite": (["mixture_2d", "--optim.lr", "nan"], "--optim.lr is nan"),
    "negative weight": (["mixture_2d", "--objective.weight", "-1"], "--objective.weight is -1.0"),
    "not a number": (["mixture_2d", "--steps", "x"], "--steps"),
    "a number or a word": (["mixture_2d", "--data.noise", "loca"], "'loca'; it takes a number or None or local"),
    "law of an exact density": (["mixture_2d_triangular", "--density.law", "knn"], "--density.law"),
    "rho of a mixture": (["mixture_2d", "--data.rho", "0.5"], "the pairs of mixture_2d differ by noise"),
    "conv on vectors": (["mixture_2d", "--encoder.kind", "conv"], "needs images"),
    "vit on vectors": (["mixture_2d", "--encoder.kind", "vit"], "needs images"),
    "patches that do not fit": (["digits", "--encoder.kind", "vit", "--encoder.patch-size", "3"], "not a multiple"),
    "heads that do not fit": (["digits", "--encoder.kind", "vit", "--encoder.heads", "5"], "do not divide"),
    "no depth": (
        ["digits", "--encoder.kind", "vit", "--encoder.depth", "0"],
        "--encoder.depth is 0; it must be at least 1",
    ),
    "no data": (["arrays"], "--data.source FILE"),
    "no config": ([], "name a config"),
    "options first": (["--steps", "3", "mixture_2d"], "the config comes first"),
    "no such file": (["missing.json"], "does not exist"),
    "under a file": (["mixture_2d", "--out", "/dev/null/x"], "cannot write in /dev/null/x"),
}


@pytest.mark.parametrize(("args", "says"), BAD.values(), ids=BAD.keys())
def test_bad_arguments_get_one_line_and_exit_2(args, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program.main(args) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert not any(p.is_file() for p in tmp_path.rglob("*"))


def test_help_shows_every_field(capsys):
    with pytest.raises(SystemExit) as stop:
        program.main(["mixture_2d", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    for option in (
        "--steps",
        "--data.batch-size",
        "--objective.anti-collapse",
        "--optim.lr",
        "--monitor.every",
        "--out",
    ):
        assert option in shown


def test_a_config_from_a_file(finished, tmp_path):
    path = tmp_path / "mine.py"
    path.write_text("from jepa_jax.config import Config\n\ndef get_config():\n    return Config(steps=7)\n")
    assert find_config(str(path)) == ("mine", Config(steps=7))
    assert find_config(str(finished / "config.json"))[1].steps == 40


@pytest.mark.parametrize(("found", "says"), [(3, "has format 3"), ("x", "has format 'x'"), (0, "has format 0")])
def test_a_directory_of_an_unknown_format_is_refused(found, says, finished, capsys):
    path = finished / "config.json"
    tree = json.loads(path.read_text())
    assert tree["format"] == 2
    path.write_text(json.dumps(tree | {"format": found}))
    for use in (
        lambda: score_program.main([str(path.parent), "--data", "mixture_2d"]),
        lambda: program.main(["mixture_2d", "--out", str(path.parent)]),
    ):
        assert use() == 2
        error = capsys.readouterr().err
        assert says in error
        assert error.count("\n") == 1


def test_a_run_of_jepa_jax_0_1_goes_on_to_the_bit(tmp_path):
    """Its config.json had no format and one section for all recipes; its checkpoints called the averages otherwise."""
    config = small(recipe__ema=0.9, optim__ema=0.9)
    train(config, tmp_path / "now", QUIET)
    shutil.copytree(tmp_path / "now", tmp_path / "old")
    old = tmp_path / "old"
    tree = json.loads((old / "config.json").read_text())
    recipe = tree.pop("recipe")
    options = {name: recipe[name] for name in ("ema", "ema_end", "projector", "predictor")}  # all that there were
    tree["objective"] |= {"recipe": recipe["kind"], "mask_blocks": 4, "prototypes": 256, **options}
    tree["optim"]["average"] = tree["optim"].pop("ema")
    tree["encoder"] |= {"patch_size": 4, "depth": 4}
    tree["views"] |= {"global_views": 2}
    del tree["format"]
    (old / "config.json").write_text(json.dumps(tree))
    for name in ("statistics.npz", "summary.json"):
        (old / name).unlink()
    shutil.rmtree(old / "checkpoints" / "40")
    for now, before in (("teacher", "target"), ("ema", "average")):
        (old / "checkpoints" / "20" / now).rename(old / "checkpoints" / "20" / before)
    assert same_weights(tmp_path / "now", tmp_path / "now")
    assert jepa_jax.load(old).dim == 8
    train(config, old, QUIET)
    assert rows_without_time(old) == rows_without_time(tmp_path / "now")
    assert same_weights(old, tmp_path / "now")


def test_targets_that_are_one_point_are_told_where_the_samples_are_not(tmp_path: Path) -> None:
    x, pair = np.random.default_rng(0).standard_normal((2, 128, 4)).astype(np.float32)
    np.savez(tmp_path / "pairs.npz", x=x, pair=1e-3 * pair)
    config = small(
        steps=2,
        data=Data(str(tmp_path / "pairs.npz"), batch_size=32, noise=0.0),
        encoder=MLP(widths=(16,), dim=4, output="free"),
        recipe=Pair(predictor=(16,), direction="forward"),
        objective=Objective("none"),
        optim=Optim(lr=1e-6),
    )
    summary = train(config, tmp_path / "run", QUIET)
    assert summary["embedding/partner_spread"] < 0.01 < 0.1 < summary["embedding/spread"]
    assert summary["health"] == "collapsed"
    assert "all targets" in summary["health_sentence"]
