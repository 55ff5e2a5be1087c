"""The story of a run."""

import json
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jepa_jax.checkpoint import CONFIG_FILE, Checkpoints, read_config, restore, saved_steps, write_config
from jepa_jax.config import Config, ConfigError, check, differences
from jepa_jax.data import Source, open_source
from jepa_jax.encoder import Encoder
from jepa_jax.files import make_directory, write_atomically
from jepa_jax.resolve import law, resolve
from train import figures
from train.log import MetricsLog, clean, open_log
from train.monitor import Look, Monitor
from train.step import METRICS, STEPS_PER_DISPATCH, State, Trainer, encoder_params, make_trainer

SECONDS_PER_DISPATCH = 0.5  # so that progress moves and Ctrl-C is heard


class TrainingError(RuntimeError):
    """Training cannot go on. The message is one line that names the step and what to try."""


def train(config: Config, out: Path, console: Console) -> dict[str, Any]:
    """Train a config into a folder, from its last checkpoint if it has one, and return the summary.

    Raises:
      ConfigError: the config or the data are wrong, or the folder belongs to another run.
      TrainingError: the loss or the gradient stopped being finite.
    """
    check(config)
    source = open_source(config.data)
    config = resolve(config, source)
    trainer = make_trainer(config, source)
    claim(out, config, source)
    state, step = newest(out, trainer)
    if step:
        console.print(f"{out} is finished" if step == config.steps else f"continuing {out} from step {step}")
    monitor = Monitor(config, source)

    def encoder_of(state: State) -> Encoder:
        params = encoder_params(state, config)
        model = trainer.encoder
        return Encoder(params, model.apply, source.shape, model.dim, law(config), model.null_directions)

    # Compile before the clock starts; zero steps change nothing.
    state, _ = trainer.run(state, source.arrays, step, step)
    checkpoints = Checkpoints(out, config.checkpoint.keep)
    log = open_log(out, step, ("jsonl", *config.monitor.writers))
    watching = total = 0.0  # seconds
    dispatch, saved, look = 4, step, None
    window: list[np.ndarray] = []  # metrics of the steps since the last line or checkpoint, and their time
    seconds = 0.0
    try:
        with progress(console) as bar:
            task = bar.add_task("training", total=config.steps, completed=step, rate="")
            while step < config.steps:
                stop = min(step + dispatch, next_event(step, config))
                started = time.perf_counter()
                state, rows = trainer.run(state, source.arrays, step, stop)
                window.append(np.asarray(rows)[: stop - step])  # waits for the device
                took = time.perf_counter() - started
                refuse_non_finite(window[-1], step, saved, out)
                dispatch, seconds, total = next_dispatch(stop - step, took), seconds + took, total + took
                step = stop
                looking = is_due(step, config.monitor.every) or step == config.steps
                saving = is_due(step, config.checkpoint.every) or step == config.steps
                if looking or is_due(step, config.monitor.log_every):
                    encoder, past = encoder_of(state), np.concatenate(window)
                    row: dict[str, Any] = {"step": step, **dict(zip(METRICS, past.mean(axis=0), strict=True))}
                    row["samples_per_second"] = len(past) * source.batch_size / seconds
                    began = time.perf_counter()
                    look = monitor.look(encoder) if looking else None
                    if look is not None:
                        row |= look.metrics
                        console.print(report(step, row, look))
                    else:
                        row["embedding/effective_rank"] = monitor.effective_rank(encoder)
                    log.write(row)
                    if look is not None and config.monitor.figures:
                        figures.draw(out / "figures" / f"density_{step:07d}.png", look, encoder, source, step, log.rows)
                    watching += time.perf_counter() - began
                    bar.update(task, rate=f"{len(past) / seconds:.0f} steps/s")
                    window, seconds = [], 0.0
                if saving:  # after the line is written, so that a resume finds every line up to its step
                    checkpoints.save(step, state)
                    saved, window, seconds = step, [], 0.0
                bar.update(task, completed=step)
    finally:
        log.close()
        checkpoints.close()
    summary = finish(out, config, source, log, look or monitor.look(encoder_of(state)), encoder_of(state))
    summary |= monitor.baselines(encoder_of(jax.jit(trainer.init)()))
    if total:
        summary["monitor/time_share"] = watching / (watching + total)
    write_summary(out, summary)
    return summary


def claim(out: Path, config: Config, source: Source) -> None:
    """Make the folder this run's own.

    Raises:
      ConfigError: it holds a run of another config, or cannot be written.
    """
    make_directory(out)
    if (out / CONFIG_FILE).exists():
        before, shape = read_config(out)
        changed = differences(before, config)
        if changed or shape != source.shape:
            what = "; ".join(changed) or f"samples of shape {list(shape)}, not {list(source.shape)}"
            raise ConfigError(f"{out} holds a run of another config ({what}); name another folder with --out")
    else:
        write_config(out, config, source.shape)
    (out / "figures").mkdir(exist_ok=True)


def newest(out: Path, trainer: Trainer) -> tuple[State, int]:
    """The newest checkpoint's state and step, or the initial state and 0."""
    steps = saved_steps(out)
    if not steps:
        return jax.jit(trainer.init)(), 0
    return restore(out, steps[-1], jax.eval_shape(trainer.init)), steps[-1]


def is_due(step: int, every: int) -> bool:
    """Whether something that happens every so many steps (0: never) happens at this one."""
    return every > 0 and step % every == 0


def next_event(step: int, config: Config) -> int:
    """The next step at which something is logged, looked at or saved, or the run ends."""
    periods = (config.monitor.every, config.monitor.log_every, config.checkpoint.every)
    return min([config.steps, *(step - step % n + n for n in periods if n)])


def next_dispatch(steps: int, seconds: float) -> int:
    """How many steps to ask for next: about SECONDS_PER_DISPATCH of them, growing at most fourfold at a time."""
    wanted = int(steps * SECONDS_PER_DISPATCH / max(seconds, 1e-6))
    return max(1, min(wanted, 4 * steps, STEPS_PER_DISPATCH))


def refuse_non_finite(rows: np.ndarray, step: int, saved: int, out: Path) -> None:
    """Stop a run whose loss or gradient is no longer finite, naming the step."""
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        names = ", ".join(n for n, v in zip(METRICS, rows[bad[0]], strict=True) if not np.isfinite(v))
        kept = f"the last good checkpoint, step {saved}, is kept in {out}" if saved else "no checkpoint was due yet"
        raise TrainingError(
            f"step {step + bad[0] + 1}: {names} not finite; {kept}; "
            "try a lower --optim.lr or --optim.clip-norm 1, in another --out"
        )


def report(step: int, row: dict[str, Any], look: Look) -> str:
    """One line for the terminal."""
    corrected = row.get("density/log_density_spearman") != row.get("density/spearman")
    agreement = [
        f"{label} {row[name]:.3f}"
        for label, name in (
            ("spearman", "density/spearman"),
            *([("corrected", "density/log_density_spearman")] if corrected else []),
            ("on the tangent", "density/tangent_log_density_spearman"),
            ("linear probe", "probe/linear"),
        )
        if name in row
    ]
    shown = ", ".join(agreement) or f"mean score {row['density/score_mean']:.1f} nats"
    return f"step {step:>6}  loss {row['loss']:.4f}  {shown}  {look.health.sentence}"


def finish(out: Path, config: Config, source: Source, log: MetricsLog, look: Look, encoder: Encoder) -> dict[str, Any]:
    """Draw the last pictures and gather the summary."""
    summary = log.latest()
    if config.monitor.figures:
        figure = out / "figures" / "density.png"
        figures.draw(figure, look, encoder, source, config.steps, log.rows)
        if len(source.shape) == 3:
            figures.extremes(out / "figures" / "extremes.png", look)
        frames = sorted((out / "figures").glob("density_*.png"))
        if source.world is not None and source.world.extent is not None and len(frames) > 1:
            figures.animate(out / "figures" / "density.gif", frames)
        summary["figure"] = str(figure)
    summary |= {"law": encoder.law, "health_sentence": look.health.sentence, "device": jax.devices()[0].device_kind}
    return summary


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """Write summary.json."""
    text = json.dumps({k: clean(v) for k, v in summary.items()}, indent=2) + "\n"
    write_atomically(out / "summary.json", lambda path: path.write_text(text))


def progress(console: Console) -> Progress:
    """A progress bar with the rate and the time left, on the console."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
