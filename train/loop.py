"""Training loop of a run."""

import contextlib
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from jepa_jax.checkpoint import SaveError, damaged, read_progress, restore, saved_steps
from jepa_jax.config import Config
from jepa_jax.data import Source, WorkerError, open_source
from jepa_jax.distributed import agree
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError, first_line
from jepa_jax.files import make_directory
from jepa_jax.initial_weights import InitialWeights, check_initial_weights, with_initial_weights
from jepa_jax.loading import load_run
from jepa_jax.progress import Pulse, progress
from jepa_jax.resolve import resolve
from jepa_jax.sharding import check_batch, local_copy, training_mesh
from jepa_jax.training import METRICS, State, Trainer, make_trainer
from jepa_jax.training.input_pipeline import InputPipeline

from .checkpointing import Checkpointing
from .claim import check_folder, claim, locked
from .clock import Clock
from .preemption import Preemption
from .reporting import NullReporter, Reporter


class TrainingError(RuntimeError):
    """Error that stops the training; its message is one line that names the step and a remedy."""


def train(config: Config, out: Path, console: Console, initial: InitialWeights | None = None) -> dict[str, Any]:
    """Train a config in the folder `out`, from its last checkpoint if it has one, and return the summary.

    All processes of a run must call this. Only the first one evaluates, writes and prints; the others return {}.

    Args:
      config: Config.
      out: Folder of the run.
      console: Console for the messages.
      initial: Weights of `init_from`, if they were read before; the config then has their encoder.

    Raises:
      ConfigError: If the config or the data are invalid, or the folder belongs to another run.
      TrainingError: If the loss or the gradient is no longer finite, the disk is full, or the run is told to stop.
    """
    first = jax.process_index() == 0
    console = console if first else Console(quiet=True)
    mesh = training_mesh(config.mesh)
    if initial is None:
        config, initial = with_initial_weights(config)
    recipe = None if initial is None else initial.preprocessing
    source = open_source(config.data, config.seed, jax.process_index(), jax.process_count(), recipe)
    config = resolve(config, source)
    check_batch(config.data.batch_size, config.optim.accumulate, mesh)
    if initial is not None:
        check_initial_weights(initial, config, source)
    trainer = make_trainer(config, source, mesh, None if initial is None else initial.params)
    make_directory(out)
    with locked(out) if first else contextlib.nullcontext():
        schedule = check_folder(out, config, source)
        reporter = Reporter(config, source, out, console, initial) if first else NullReporter()
        # What cannot be evaluated or written is found before the folder is claimed.
        reporter.baseline(local_copy(trainer.encoder(trainer.init()), mesh))
        if first:
            claim(out, config, source, initial)
        if schedule:
            console.print(schedule, markup=False)
        agree(0, False)  # the others read what the first process has written
        inputs, state, clock = begin(out, config, trainer, source, mesh)
        if clock.step:
            console.print(f"{out} is finished" if clock.finished else f"continuing {out} from step {clock.step}")
        reporter.open(clock.step)
        last, keeper = take_steps(config, out, console, trainer, mesh, inputs, state, clock, reporter)
        if said := inputs.unreadable():
            console.print(f"warning: {said}", markup=False)
        try:
            summary = reporter.finish(clock, result_of(out, config, keeper, last), keeper.best_step())
        except OSError as error:
            raise TrainingError(cannot_be_written(clock.step, out, error, keeper)) from None
        agree(0, False)  # the first process has more to do, and the others must wait for it
        return summary


def take_steps(
    config: Config,
    out: Path,
    console: Console,
    trainer: Trainer,
    mesh: Mesh,
    inputs: InputPipeline,
    state: State,
    clock: Clock,
    reporter: NullReporter,
) -> tuple[Encoder, Checkpointing]:
    """Take the steps that are left, and return the encoder after them and the keeper of the checkpoints.

    The folder is claimed, and the state, from which the steps continue, is donated.

    Raises:
      TrainingError: As in `train`.
    """

    def encoder_of(state: State) -> Encoder:  # all processes must call this
        return local_copy(trainer.encoder(state), mesh)

    keeper = Checkpointing(out, config)
    pulse = Pulse(console, clock.step, config.steps)
    try:
        state = inputs.compile(trainer, state, clock.step)  # before any time is measured
        with progress(console, config.steps) as bar, Preemption() as told:
            while not clock.finished:
                steps, stopping = agree(clock.next_steps(), told.received)
                if stopping:
                    keeper.save(clock.step, state, clock.window, inputs.position())
                    raise TrainingError(told_to_stop(clock.step, out))
                started = time.perf_counter()
                state, rows = inputs.advance(trainer, state, clock.step, clock.step + steps)
                refuse_non_finite(rows, clock.step, keeper.saved, out)
                clock.advance(rows, time.perf_counter() - started)
                if clock.line_due:
                    keeper.judge(clock.step, reporter.line(clock, encoder_of(state), inputs.idle))
                    bar.update(bar.task_ids[0], rate=clock.rate())
                    clock.start_line()
                    inputs.idle = 0.0
                # After the line is written, so that a resumed run finds every line up to its step.
                if keeper.is_due(clock.step):
                    keeper.save(clock.step, state, clock.window, inputs.position())
                bar.update(bar.task_ids[0], completed=clock.step)
                pulse.beat(clock.step)
            keeper.close()
    except (SaveError, OSError) as error:
        raise TrainingError(cannot_be_written(clock.step, out, error, keeper)) from None
    except WorkerError as error:
        raise TrainingError(
            f"step {clock.step}: {error}; {keeper.kept()}; set fewer `data.workers`, and repeat the same command"
        ) from None
    finally:
        reporter.close()
        inputs.close()
        keeper.abandon()
    return encoder_of(state), keeper


def result_of(out: Path, config: Config, keeper: Checkpointing, last: Encoder) -> Encoder:
    """Return the encoder that is the result of a run: of the best checkpoint if the config says so, or else the last.

    All processes must call this, because they wait for each other while a checkpoint is read.
    """
    best = config.checkpoint.result == "best" and keeper.best_step() is not None
    return load_run(out) if best else last


def begin(
    out: Path, config: Config, trainer: Trainer, source: Source, mesh: Mesh
) -> tuple[InputPipeline, State, Clock]:
    """Return the input pipeline, the state and the counters, from the last checkpoint or for a new run.

    Args:
      out: Folder of the run.
      config: Resolved config.
      trainer: Functions of the run.
      source: Data of the run.
      mesh: Mesh of the devices.
    """
    steps = saved_steps(out)
    window = np.zeros((0, len(METRICS)), np.float32)
    if not steps:
        return InputPipeline(source, mesh, None), trainer.init(), Clock(config, 0, window)
    saved = read_progress(out, steps[-1])
    try:
        window = np.array(saved.get("window") or window, np.float32).reshape(-1, len(METRICS))
        inputs = InputPipeline(source, mesh, saved.get("data"))
    except (TypeError, ValueError, KeyError) as error:
        raise error if isinstance(error, ConfigError) else damaged(out, steps[-1], error) from None
    state = restore(out, steps[-1], trainer.state, trainer.shardings)
    return inputs, state, Clock(config, steps[-1], window)


def refuse_non_finite(rows: np.ndarray, step: int, saved: int, out: Path) -> None:
    """Stop a run whose loss or gradient is no longer finite.

    Args:
      rows: Metrics [n, 4] of the last steps.
      step: Number of steps taken before them.
      saved: Newest step that was saved, or 0.
      out: Folder of the run.

    Raises:
      TrainingError: If a metric is not finite; the message names the first such step.
    """
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        names = ", ".join(n for n, v in zip(METRICS, rows[bad[0]], strict=True) if not np.isfinite(v))
        kept = f"the last good checkpoint, step {saved}, is kept in {out}" if saved else "no checkpoint was due yet"
        raise TrainingError(
            f"step {step + bad[0] + 1}: {names} not finite; {kept}; "
            "try a lower `optim.lr` or an `optim.clip_norm` of 1, in another folder"
        )


def told_to_stop(step: int, out: Path) -> str:
    """Return the message of a run that received SIGTERM."""
    return f"told to stop at step {step}, which is saved; the same command continues {out}"


def cannot_be_written(step: int, out: Path, error: Exception, keeper: Checkpointing) -> str:
    """Return the message of a run whose files cannot be written."""
    return (
        f"step {step}: {out} cannot be written ({first_line(error)}); {keeper.kept()}; "
        "free some space and repeat the same command"
    )
