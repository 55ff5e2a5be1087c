"""Training on what is read as it goes: resumed, killed, told to stop, out of room; and the large configs."""

import contextlib
import dataclasses
import io
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.checkpoint import read_progress, saved_steps, values
from jepa_jax.config import Config
from jepa_jax.data import open_source, pixels
from jepa_jax.data.abstract import abstract_source
from jepa_jax.data.streaming import read_some
from jepa_jax.errors import ConfigError
from jepa_jax.loading import load_run
from jepa_jax.resolve import resolve
from jepa_jax.training.input_pipeline import InputPipeline
from jepa_jax.training.step import make_trainer
from train.checkpointing import Checkpointing
from train.config_files import config_module, config_names, find_config
from train.log import read_rows
from train.loop import TrainingError, train
from train.monitor import Monitor
from train.preemption import Preemption

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
LARGE = [name for name in config_names() if name.startswith(("cifar10_", "imagenet_"))]


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    """90 images of bytes, whose label is their brighter half."""
    random_numbers = np.random.default_rng(0)
    label = random_numbers.integers(0, 2, 90)
    x = random_numbers.integers(0, 100, (90, 8, 8, 1), np.uint8)
    x[label == 1, :4] += 100
    x[label == 0, 4:] += 100
    path = tmp_path_factory.mktemp("images") / "x.npz"
    np.savez(path, x=x, label=label)
    return str(path)


def small(images: str, **rooms) -> Config:
    config = Config(
        steps=40,
        data=cfg.Data(images, 16, stream=True, channels=1, holdout=0.3),
        views=cfg.Crops(global_scale=(0.5, 1.0)),
        encoder=cfg.MLP(widths=(16,), dim=8),
        recipe=cfg.Multiview(),
        objective=cfg.Objective(anti_collapse="sigreg", weight=0.1, num_slices=8),
        monitor=cfg.Monitor(every=0, probes=16, log_every=10, figures=False, labels=False),
        checkpoint=cfg.Checkpoints(every=20),
    )
    for room, changes in rooms.items():
        value = dataclasses.replace(getattr(config, room), **changes) if isinstance(changes, dict) else changes
        config = dataclasses.replace(config, **{room: value})
    return config


def metrics(out: Path) -> list[dict]:
    timed = ("samples_per_second", "data/idle_share")
    return [{k: v for k, v in row.items() if k not in timed} for row in read_rows(out / "metrics.jsonl")]


def the_same_run(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    jax.tree.map(np.testing.assert_array_equal, load_run(one).params, load_run(other).params)


@pytest.fixture(scope="module")
def whole(images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    train(small(images), out, quiet())
    return out


def test_a_stream_is_trained_on_and_judged(images: str, tmp_path: Path) -> None:
    config = small(images, steps=200, monitor={"labels": None, "every": 100})
    summary = train(config, tmp_path, quiet())
    assert summary["probe/linear"] > 0.8
    assert summary["probe/knn"] > 0.8
    assert 0 <= summary["data/idle_share"] <= 1
    rows = metrics(tmp_path)
    assert rows[-1]["prediction"] < 0.5 * rows[0]["prediction"]
    assert jepa_jax.load(tmp_path).shape == (8, 8, 1)
    # By the largest linear probe, as there is no exact density.
    judged = {r["step"]: r["probe/linear"] for r in rows if "probe/linear" in r}
    assert values(tmp_path).items() <= judged.items()
    assert summary["best_step"] == max(judged, key=lambda s: (judged[s], s))


def test_images_are_the_same_from_memory_and_from_a_stream(images: str) -> None:
    memory, stream = (
        open_source(dataclasses.replace(small(images).data, stream=streamed)) for streamed in (False, True)
    )
    assert (memory.shape, memory.batch_size) == (stream.shape, stream.batch_size)
    held = [np.asarray(source.probe(99).x) for source in (memory, stream)]
    np.testing.assert_allclose(*held, rtol=1e-6)
    assert stream.batches is not None
    batch = next(stream.batches())
    examples, _ = stream.draw(batch, jax.random.key(0))
    np.testing.assert_array_equal(examples["x"], np.asarray(memory.arrays["x"])[batch["index"]])


def test_a_folder_is_scored_as_it_was_read(tmp_path: Path) -> None:
    """The middle square, not the whole picture squashed."""
    draw = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    pictures = [np.kron(draw.integers(0, 256, (8, 12, 3)), np.ones((5, 5, 1))).astype(np.uint8) for _ in range(12)]
    for i, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / "photos" / f"{i:02}.png")
    data = cfg.Data(str(tmp_path / "photos"), 8, size=8)
    train(small("", data=data, steps=2), tmp_path / "run", quiet())
    encoder = jepa_jax.load(tmp_path / "run")
    read = read_some(data.source, 12, size=8)["x"] / np.float32(255)
    for picture, seen in zip(pictures, read, strict=True):
        np.testing.assert_array_equal(encoder.preprocess(picture), seen)
    every = np.arange(256, dtype=np.uint8)  # what the device makes of bytes is what the host makes of them
    np.testing.assert_array_equal(jax.jit(pixels)(every), every / np.float32(255))
    assert encoder.picture_preprocessing is not None
    assert encoder.picture_preprocessing.resize == 8


def test_views_of_a_sample_depend_on_seed_step_and_sample_alone(images: str) -> None:
    """Not on its place in the batch, nor on what else is in it."""
    from jepa_jax.training.step import views_of

    config = small(images)
    source = open_source(config.data)
    assert source.batches is not None
    views = jax.jit(views_of(resolve(config, source), source))
    batch = {name: next(source.batches())[name] for name in ("x", "index")}
    turned = {name: column[::-1] for name, column in batch.items()}
    one, other, next_step = (views(b, jax.random.key(step))[0] for b, step in ((batch, 0), (turned, 0), (batch, 1)))
    np.testing.assert_array_equal(one, other[:, ::-1])
    assert np.abs(one - next_step).max() > 0.1


@pytest.mark.parametrize("at", [20, 30])
def test_resume_goes_on_at_the_next_sample(images: str, whole: Path, tmp_path: Path, monkeypatch, at: int) -> None:
    advance = InputPipeline.advance

    def dies(self, trainer, state, step, stop):
        if step >= at:
            raise KeyboardInterrupt
        return advance(self, trainer, state, step, stop)

    monkeypatch.setattr(InputPipeline, "advance", dies)
    with pytest.raises(KeyboardInterrupt):
        train(small(images), tmp_path, quiet())
    assert read_progress(tmp_path, 20)["data"]["next"] == 20 * 16
    monkeypatch.undo()
    train(small(images), tmp_path, quiet())
    the_same_run(tmp_path, whole)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C as in a terminal; a shell lets its background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_it_saves_where_it_is(images: str, whole: Path, tmp_path: Path, monkeypatch, number) -> None:
    """Also between two lines of the metrics file, whose mean is then over the steps of both runs."""
    advance = InputPipeline.advance

    def told(self, trainer, state, step, stop):
        os.kill(os.getpid(), number)
        return advance(self, trainer, state, step, min(stop, step + 4))

    monkeypatch.setattr(InputPipeline, "advance", told)
    with pytest.raises(TrainingError, match="told to stop at step 4, which is saved; the same command continues"):
        train(small(images), tmp_path, quiet())
    assert saved_steps(tmp_path) == [4]
    assert len(read_progress(tmp_path, 4)["window"]) == 4
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    train(small(images), tmp_path, quiet())
    the_same_run(tmp_path, whole)


@pytest.mark.usefixtures("interruptible")
def test_a_second_interrupt_stops_at_once() -> None:
    with Preemption() as told:
        signal.raise_signal(signal.SIGINT)
        assert told.received
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def run_until(config: Config, out: Path) -> None:
    """In a process of its own."""
    train(config, out, quiet())


def out_of_room(config: Config, out: Path, said: Path) -> None:
    """In a process of its own: no file may grow beyond 2 kB once the first checkpoint is whole."""
    save, calls = Checkpointing.save, []

    def limited(self, *args):
        if calls:
            self._checkpoints._manager.wait_until_finished()
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
        calls.append(1)
        save(self, *args)

    Checkpointing.save = limited  # type: ignore[method-assign]
    try:
        train(config, out, quiet())
    except TrainingError as error:
        os.write(os.open(said, os.O_WRONLY | os.O_CREAT), str(error).encode())


@pytest.fixture(scope="module")
def processes() -> multiprocessing.context.ForkServerContext:
    """New processes that need not import everything first."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["train.loop", "grain", __name__])
    return context


@pytest.mark.slow
def test_killed_five_times(images: str, tmp_path: Path, processes) -> None:
    """By SIGKILL, at random moments: metrics and parameters are those of a run that was left alone."""
    few = {"views": cfg.Noise(), "recipe": cfg.Pair()}  # operations, as each process traces them again
    config = small(images, steps=300, checkpoint={"every": 5}, **few)
    train(config, tmp_path / "whole", quiet())
    out, moments = tmp_path / "cut", random.Random(0)
    for _ in range(5):
        before = len(saved_steps(out)) and saved_steps(out)[-1]
        process = processes.Process(target=run_until, args=(config, out))
        process.start()
        deadline = time.time() + 200
        while (not saved_steps(out) or saved_steps(out)[-1] <= before) and time.time() < deadline:
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.1))
        process.kill()
        process.join()
        assert saved_steps(out)[-1] < config.steps, "killed too late to mean anything"
    process = processes.Process(target=run_until, args=(config, out))
    process.start()
    process.join(300)
    assert process.exitcode == 0
    the_same_run(out, tmp_path / "whole")
    assert not list((out / "checkpoints").glob("*tmp*"))  # of those that were killed while they wrote


@pytest.mark.slow
def test_a_full_disk(images: str, tmp_path: Path, processes) -> None:
    config = small(images, encoder={"widths": (64, 64)})
    process = processes.Process(target=out_of_room, args=(config, tmp_path / "run", tmp_path / "said"))
    process.start()
    process.join(200)
    said = (tmp_path / "said").read_text()
    assert "the last good checkpoint, step 20, is kept; free some space and repeat the same command" in said
    assert "\n" not in said
    assert saved_steps(tmp_path / "run") == [20]
    train(config, tmp_path / "run", quiet())
    train(config, tmp_path / "whole", quiet())
    the_same_run(tmp_path / "run", tmp_path / "whole")


def test_the_best_checkpoint_is_kept(tmp_path: Path, monkeypatch) -> None:
    look, agreement = Monitor.look, iter([0.95, 0.5, 0.9, 0.1, 0.2])  # the first before training

    def judged(self, encoder):
        found = look(self, encoder)
        return dataclasses.replace(found, metrics=found.metrics | {"density/spearman": next(agreement)})

    monkeypatch.setattr(Monitor, "look", judged)
    config = Config(
        steps=40,
        data=cfg.Data(batch_size=32),
        encoder=cfg.MLP(widths=(16,), dim=8),
        monitor=cfg.Monitor(every=10, probes=64, log_every=10, figures=False),
        checkpoint=cfg.Checkpoints(every=15, keep=1, best="density/spearman"),
    )
    summary = train(config, tmp_path, quiet())
    assert summary["best_step"] == 20
    assert saved_steps(tmp_path) == [20, 40]
    x = np.zeros(2, np.float32)
    best, newest = jepa_jax.load(tmp_path, step="best"), jepa_jax.load(tmp_path)
    assert not np.allclose(best(x), newest(x))
    np.testing.assert_array_equal(jepa_jax.load(tmp_path, step="40")(x), newest(x))
    with pytest.raises(ConfigError, match="no checkpoint of step 30; choose 20, 40 or best"):
        jepa_jax.load(tmp_path, step="30")
    monkeypatch.undo()
    unknown = dataclasses.replace(config, checkpoint=cfg.Checkpoints(best="spearman"))
    with pytest.raises(ConfigError, match=r"`checkpoint\.best` is spearman, which is not a metric of this run"):
        train(unknown, tmp_path / "other", quiet())


def test_the_road_of_tfds(tmp_path: Path, monkeypatch) -> None:
    """Our own data set, prepared, trained on and compared with the exact density that lies beside each image."""
    from jepa_jax.data.sprites_builder.__main__ import main as prepare

    assert prepare(["--data-dir", str(tmp_path / "data"), "--config", "small"]) == 0
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    data = cfg.Data("tfds:jepa_sprites/small", 16, channels=1, probe_source="tfds:jepa_sprites/small:test")
    summary = train(small("", data=data, steps=20), tmp_path / "run", quiet())
    assert -1 <= summary["density/spearman"] <= 1
    assert "density/log_density_spearman_untrained" in summary


@pytest.mark.parametrize("name", LARGE)
def test_large_configs_are_whole(name: str) -> None:
    """Every shape of the step fits, at full size; nothing is computed."""
    config = find_config(name)[1]
    source = abstract_source(config.data)
    trainer = make_trainer(resolve(config, source), source)
    _, rows = jax.eval_shape(trainer.run, trainer.state, source.arrays, 0, 1)
    assert rows.shape[1] == 4
    assert config_module(name).__doc__


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [name for name in LARGE if name.startswith("imagenet")]
)  # those of cifar10 are smaller
def test_large_configs_step_on_a_mesh(name: str, tmp_path: Path) -> None:
    """On made-up images, four virtual devices, two of them to a copy of the parameters; less deep and smaller."""
    import tensorflow_datasets as tfds

    config = find_config(name)[1]
    narrow = {"projector": (16,), "prototypes": 16, "predictor_width": 12, "predictor_depth": 1}
    recipe = {name: value for name, value in narrow.items() if getattr(config.recipe, name, None)}
    views = {"local_views": 1, "local_size": 32} if getattr(config.views, "local_views", 0) else {}
    config = dataclasses.replace(
        config,
        steps=2,
        data=dataclasses.replace(config.data, size=64, batch_size=8, workers=0),
        views=dataclasses.replace(config.views, **views),
        encoder=dataclasses.replace(config.encoder, depth=1, width=24, dim=24 if "ijepa" in name else 8),
        recipe=dataclasses.replace(config.recipe, **recipe),
        objective=dataclasses.replace(config.objective, num_slices=8),
        monitor=dataclasses.replace(config.monitor, probes=8, labelled=12, figures=False, against=()),
        mesh=cfg.Mesh(devices=4, shard_parameters=2),
    )
    with tfds.testing.mock_data(num_examples=12), contextlib.redirect_stdout(io.StringIO()):
        summary = train(config, tmp_path, quiet())
    assert np.isfinite(summary["loss"])
    assert 0 <= summary["probe/linear"] <= 1


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"monitor": {"labels": True}, "data": {"holdout": 0.0}}, "`monitor.labels` needs labels and held-out samples"),
        ({"data": {"stream": False, "probe_source": "digits"}}, "`data.probe_source` is for streams"),
        (
            {"data": {"probe_source": "digits", "size": 6}, "encoder": cfg.ViT(patch_size=8)},
            "not a multiple",
        ),
        ({"data": {"source": "tfds:cifar01"}}, "the nearest are .*cifar10"),
        ({"data": {"source": "tfds:mnist", "stream": False}}, "only read as a stream"),
        ({"views": {"local_views": 1, "local_size": 4}}, "`views.local_size` needs `encoder.kind` vit"),
        ({"data": {"shift": 1, "rho": 0.5}}, "`data.rho` is for worlds"),
    ],
)
def test_what_a_stream_is_refused(images: str, tmp_path: Path, changes: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        train(small(images, **changes), tmp_path, quiet())
    assert "\n" not in str(caught.value)
