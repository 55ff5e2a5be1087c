"""One device, many devices, several processes: the same run. And the ways a step saves memory change no number."""

import dataclasses
import functools
import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

from jepa_jax import config as cfg
from jepa_jax.checkpoint import restore, save_params
from jepa_jax.config import Config
from jepa_jax.data import open_source
from jepa_jax.errors import ConfigError
from jepa_jax.loading import load_run
from jepa_jax.resolve import resolve
from jepa_jax.sharding import batch_sharding, check_batch, replicated, training_mesh
from jepa_jax.training.cost import trace_step
from jepa_jax.training.step import make_trainer
from tests.helpers import ROOT, xla_flags
from train.log import read_rows
from train.loop import train

QUIET = Console(file=io.StringIO())
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
VIT = cfg.ViT(patch_size=2, width=12, depth=2, heads=2, dim=6)
MLP = cfg.MLP(widths=(16,), dim=8)
CROPS = cfg.Crops(local_views=1, local_size=4)


def small(recipe: str = "multiview", **optim) -> Config:
    recipes = {
        "multiview": (cfg.Multiview(), cfg.Objective("sigreg", weight=0.1, num_slices=8)),
        "masked": (cfg.Masked(ema=0.9, mask=cfg.Blocks(targets=1)), cfg.Objective("vicreg", weight=0.1)),
        "distill": (cfg.Distill(ema=0.9, prototypes=8), cfg.Objective("koleo", weight=0.1)),
        "pair": (cfg.Pair(predictor=(8,)), cfg.Objective("infonce")),
    }
    return Config(
        steps=20,
        data=cfg.Data(source="digits", batch_size=32, holdout=0.5, noise=0.1),
        views=CROPS if recipe == "multiview" else cfg.Noise(),
        encoder=VIT if recipe in ("multiview", "masked") else MLP,
        recipe=recipes[recipe][0],
        objective=recipes[recipe][1],
        optim=cfg.Optim(warmup_steps=2, **optim),
        monitor=cfg.Monitor(every=0, probes=32, log_every=5, figures=False, labels=False),
        checkpoint=cfg.Checkpoints(every=10),
    )


def steps(config: Config, count: int = 3):
    """Metrics of the first steps and the parameters after them, of one process's devices."""
    source = open_source(config.data)
    config = resolve(config, source)
    mesh = training_mesh(config.mesh)
    trainer = make_trainer(config, source, mesh)
    state = trainer.init()
    state, rows = trainer.run(state, source.arrays, 0, count)
    return np.asarray(rows)[:count], jax.device_get(state["params"]), state


def with_mesh(config: Config, **mesh) -> Config:
    return dataclasses.replace(config, mesh=cfg.Mesh(**mesh))


def same(one, other) -> None:
    """Metrics and parameters are equal to rounding."""
    np.testing.assert_allclose(one[0], other[0], rtol=2e-4, atol=2e-5)
    same_parameters(one[1], other[1])


def same_parameters(one, other) -> None:
    def compare(path, a, b):
        a, b = np.array(a), np.array(b)
        if jax.tree_util.keystr(path).endswith("['qkv']['bias']"):
            # A bias of the keys changes nothing: its gradient is rounding noise, which Adam makes as large as any.
            width = a.shape[1] // 3
            a[:, width : 2 * width] = b[:, width : 2 * width] = 0
        np.testing.assert_allclose(a, b, atol=5e-5, rtol=1e-3, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(compare, one, other)


@functools.cache
def alone(recipe: str):
    """On one device, as it comes."""
    return steps(with_mesh(small(recipe), devices=1))


REPEATS = [pytest.param(name, marks=pytest.mark.slow) for name in ("multiview", "pair")]


@pytest.mark.parametrize("recipe", [*REPEATS, "masked", "distill"])
def test_four_devices_are_one(recipe: str) -> None:
    assert len(jax.devices()) == 4
    spread = steps(with_mesh(small(recipe), devices=4, shard_parameters=2))
    same(alone(recipe), spread)
    kernel = max(jax.tree.leaves(spread[2]["params"]["encoder"]["network"]), key=lambda a: a.size)
    assert kernel.sharding.num_devices == 4
    assert kernel.addressable_shards[0].data.size == kernel.size // 2  # two devices share a copy


def test_a_restored_state_runs_in_the_program_that_was_compiled_ahead(tmp_path: Path) -> None:
    """Neither the first step of a run nor that after a restart compiles another program than `--dry-run` does."""
    config = with_mesh(small("distill"), devices=4, shard_parameters=2)
    source, mesh = open_source(config.data), training_mesh(config.mesh)
    trainer = make_trainer(resolve(config, source), source, mesh)
    state = trainer.init()
    save_params(tmp_path, state)
    restored = restore(tmp_path, 0, {"params": trainer.state}, {"params": trainer.shardings})["params"]
    arrays = jax.device_put(source.arrays, replicated(mesh))
    ahead = trace_step(config, mesh, config.data.batch_size).traced.lower().as_text()
    for found in (state, restored):
        assert trainer.run.trace(found, arrays, 0, 1).lower().as_text() == ahead


@pytest.mark.parametrize(
    ("recipe", "optim"),
    [("distill", {"accumulate": 4}), ("masked", {"accumulate": 4, "remat": True}), ("pair", {"remat": True})],
)
def test_saving_memory_changes_no_number(recipe: str, optim: dict) -> None:
    same(alone(recipe), steps(small(recipe, **optim)))


def test_parts_of_a_batch_are_divided_among_devices() -> None:
    same(alone("multiview"), steps(with_mesh(small("multiview", accumulate=4), devices=4)))


@pytest.mark.slow
def test_accumulation_saves_memory() -> None:
    """Activations of one part at a time."""

    def bytes_of(**optim) -> int:
        config = dataclasses.replace(small("masked", **optim), data=cfg.Data("digits", 256, holdout=0.5))
        source = open_source(config.data)
        config = resolve(config, source)
        trainer = make_trainer(config, source)
        state = trainer.state
        return trainer.run.lower(state, source.arrays, 0, 1).compile().memory_analysis().temp_size_in_bytes

    whole = bytes_of()
    assert bytes_of(accumulate=8) < 0.5 * whole
    assert bytes_of(remat=True) < 0.9 * whole


@pytest.mark.parametrize("recipe", ["multiview", "masked", "distill"])
def test_bfloat16_is_near_and_keeps_float32_where_it_counts(recipe: str) -> None:
    exact, low = alone(recipe), steps(small(recipe, compute="bfloat16"))
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(low[1]))
    assert not np.array_equal(exact[0], low[0])
    np.testing.assert_allclose(exact[0][:, :3], low[0][:, :3], rtol=0.1, atol=0.02)  # losses of three steps


def test_a_batch_that_cannot_be_divided() -> None:
    mesh = training_mesh(cfg.Mesh(devices=4))
    check_batch(32, 2, mesh)
    for batch, accumulate, says in (
        (30, 1, "a batch of 30 cannot be divided among 4 devices; take `data.batch_size` 28 or 32"),
        (20, 2, "20 cannot be divided among 4 devices in 2 parts; take `data.batch_size` 16 or 24"),
        (3, 1, "take `data.batch_size` 4$"),
    ):
        with pytest.raises(ConfigError, match=says):
            check_batch(batch, accumulate, mesh)
    with pytest.raises(ConfigError, match=r"`mesh\.devices` is 9; there are 4"):
        training_mesh(cfg.Mesh(devices=9))
    with pytest.raises(ConfigError, match=r"`mesh\.shard_parameters` is 3; it must divide the 4 devices"):
        training_mesh(cfg.Mesh(devices=4, shard_parameters=3))
    assert training_mesh(cfg.Mesh()).size == 1  # several CPU devices of one process are there on purpose only
    assert batch_sharding(mesh).num_devices == 4


def start(args: list[str], devices: int) -> subprocess.Popen:
    environment = os.environ | {"XLA_FLAGS": xla_flags(devices)}
    pipe = subprocess.PIPE
    command = [sys.executable, "-m", "train", *args]
    return subprocess.Popen(command, env=environment, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def finish(processes: list[subprocess.Popen]) -> list[tuple[str, str]]:
    said = [process.communicate(timeout=400) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return said


def metrics(out: Path) -> list[dict]:
    skipped = ("samples_per_second", "data/idle_share")
    return [{k: v for k, v in row.items() if k not in skipped} for row in read_rows(out / "metrics.jsonl")]


def same_runs(one: Path, other: Path) -> None:
    rows = [metrics(out) for out in (one, other)]
    assert [r["step"] for r in rows[0]] == [r["step"] for r in rows[1]]
    for a, b in zip(*rows, strict=True):
        numbers = [k for k, v in a.items() if isinstance(v, float)]
        np.testing.assert_allclose([a[k] for k in numbers], [b[k] for k in numbers], rtol=2e-3, atol=2e-5)
    same_parameters(load_run(one).params, load_run(other).params)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["digits", "stream"])
def test_one_device_is_eight_and_is_two_processes(source: str, tmp_path: Path) -> None:
    """Twenty steps, to float32 rounding, of a source on the devices and of a stream."""
    config = dataclasses.replace(small(), encoder=MLP, views=dataclasses.replace(CROPS, local_size=None))
    if source == "stream":
        x = np.random.default_rng(0).integers(0, 256, (90, 8, 8, 1), np.uint8)
        np.savez(tmp_path / "x.npz", x=x)
        data = cfg.Data(str(tmp_path / "x.npz"), 16, stream=True, channels=1, holdout=0.2)
        config = dataclasses.replace(config, data=data)
    file = tmp_path / "run.json"
    file.write_text(json.dumps(dataclasses.asdict(config)))
    train(with_mesh(config, devices=1), tmp_path / "one", QUIET)

    eight = ["--mesh.devices", "8", "--mesh.shard-parameters", "2"]
    finish([start([str(file), "--out", str(tmp_path / "eight"), *eight], 8)])
    same_runs(tmp_path / "one", tmp_path / "eight")

    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    common = [str(file), "--out", str(tmp_path / "two"), "--coordinator", address, "--processes", "2"]
    said = finish([start([*common, "--process", str(i), "--mesh.shard-parameters", "2"], 2) for i in range(2)])
    assert "mean score" in said[0][1]
    # Only the first one talks. Libraries below may write lines of their own, to either stream.
    ours = ("next: ", "mean score", "healthy", "folding", "losing", "collapsed", "monitors took", "continuing")
    first, second = (
        [line for line in (out + error).splitlines() if any(o in line for o in ours)] for out, error in said
    )
    assert len(first) > 2
    assert second == []
    same_runs(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_the_best_checkpoint_of_a_mixture_is_the_result_of_two_processes(tmp_path: Path) -> None:
    """Reading a checkpoint is collective, and only the first process writes the result."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).standard_normal((300, 2)).astype(np.float32))
    tiny = ["--steps", "20", "--checkpoint.every", "10", "--monitor.every", "10", "--monitor.no-figures"]
    tiny += ["--encoder.members", "2", "--encoder.components", "2", "--encoder.widths", "4"]
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    common = ["arrays", "--data.source", str(tmp_path / "x.npy"), "--out", str(tmp_path / "two"), *tiny]
    common += ["--coordinator", address, "--processes", "2"]
    finish([start([*common, "--process", str(i)], 1) for i in range(2)])
    summary = json.loads((tmp_path / "two" / "summary.json").read_text())
    assert summary["best_is_result"]
    assert np.isfinite(summary["heldout_nats"])
