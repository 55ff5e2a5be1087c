"""The story of a run."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jepa_jax.checkpoint import SaveError, first_line, read_progress, restore, saved_steps
from jepa_jax.config import Config
from jepa_jax.config_json import differences
from jepa_jax.data import Source, open_source
from jepa_jax.distributed import agree
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory, write_atomically
from jepa_jax.resolve import resolve
from jepa_jax.run_dir import CONFIG_FILE, read_config, write_config, write_statistics
from jepa_jax.sharding import check_batch, local_copy, training_mesh
from jepa_jax.training.step import METRICS, STEPS_PER_DISPATCH, State, Trainer, make_trainer
from train import figures
from train.checkpointing import Checkpointing
from train.input_pipeline import InputPipeline
from train.log import Writer, clean, open_log
from train.monitor import Look, Monitor
from train.preemption import Preemption

COMPARED = ("density/", "probe/", "auroc/", "embedding/effective_rank", "embedding/slices")  # with the untrained
FIRST_DISPATCH = 4  # steps, before it is known how long they take
SECONDS_PER_DISPATCH = 0.5  # so that progress moves and Ctrl-C is heard


class TrainingError(RuntimeError):
    """Training cannot go on. The message is one line that names the step and what to try."""


def train(config: Config, out: Path, console: Console) -> dict[str, Any]:
    """Train a config into a folder, from its last checkpoint if it has one, and return the summary.

    All processes of a run call this; the first one looks, writes and talks, and the others' summaries are empty.

    Raises:
      ConfigError: the config or the data are wrong, or the folder belongs to another run.
      TrainingError: the loss or the gradient stopped being finite, the disk is full, or the run was told to stop.
    """
    first = jax.process_index() == 0
    console = console if first else Console(quiet=True)
    mesh = training_mesh(config.mesh)
    source = open_source(config.data, config.seed, jax.process_index(), jax.process_count())
    config = resolve(config, source)
    check_batch(config.data.batch_size, config.optim.accumulate, mesh)
    trainer = make_trainer(config, source, mesh)
    claim(out, config, source, first)
    monitor = Monitor(config, source) if first else None
    feed, state, step, window = begin(out, trainer, source, mesh)
    if step:
        console.print(f"{out} is finished" if step == config.steps else f"continuing {out} from step {step}")

    def encoder_of(state: State) -> Encoder:
        return local_copy(trainer.encoder(state), mesh)

    # Both compile before the clock starts; what the untrained encoder knows is what learning has to beat.
    state = feed.compile(trainer, state, step)
    untrained = encoder_of(trainer.init())
    before = {} if monitor is None else warmed(monitor, untrained)
    if before and not step:
        console.print(report(0, before, None))
    keeper = Checkpointing(out, config)
    log = open_log(out, step, ("jsonl", *config.monitor.writers)) if first else Writer()
    watching = drawing = total = 0.0  # seconds
    dispatch, look = FIRST_DISPATCH, None
    counted, seconds = 0, 0.0  # steps since the last line, and their time; a resume knows no time before it
    try:
        with progress(console) as bar, Preemption() as told:
            task = bar.add_task("training", total=config.steps, completed=step, rate="")
            while step < config.steps:
                steps, stopping = agree(min(dispatch, next_event(step, config) - step), told.received)
                if stopping:
                    keeper.save(step, state, window, feed.position())
                    raise TrainingError(
                        f"told to stop at step {step}, which is saved; the same command continues {out}"
                    )
                started = time.perf_counter()
                state, rows = feed.advance(trainer, state, step, step + steps)
                took = time.perf_counter() - started
                refuse_non_finite(rows, step, keeper.saved, out)
                dispatch, step = next_dispatch(steps, took), step + steps
                window = np.concatenate([window, rows])
                counted, seconds, total = counted + steps, seconds + took, total + took
                looking = is_due(step, config.monitor.every) or step == config.steps
                if looking or is_due(step, config.monitor.log_every):
                    began = time.perf_counter()
                    encoder = encoder_of(state)
                    row: dict[str, Any] = {"step": step, **dict(zip(METRICS, window.mean(axis=0), strict=True))}
                    row["samples_per_second"] = counted * source.batch_size / seconds
                    if source.batches is not None:
                        row["data/idle_share"] = feed.idle / seconds
                    if monitor is not None:
                        look = monitor.look(encoder) if looking else None
                        row |= {"embedding/effective_rank": monitor.effective_rank(encoder)} if look is None else {}
                        row |= {} if look is None else look.metrics
                    log.write(row)
                    keeper.judge(step, row if looking else {})
                    watching += time.perf_counter() - began
                    if look is not None:
                        console.print(report(step, row, look))
                        began = time.perf_counter()
                        if config.monitor.figures and step < config.steps:  # the last one is drawn with the summary
                            figures.draw(picture(out, step), look, encoder, source, step, log.rows)
                        drawing += time.perf_counter() - began
                    bar.update(task, rate=f"{counted / seconds:.0f} steps/s")
                    window, counted, seconds, feed.idle = window[:0], 0, 0.0, 0.0
                # After the line is written, so that a resume finds every line up to its step.
                if keeper.is_due(step):
                    keeper.save(step, state, window, feed.position())
                bar.update(task, completed=step)
            keeper.close()
    except (SaveError, OSError) as error:
        raise TrainingError(
            f"step {step}: {out} cannot be written ({first_line(error)}); {keeper.kept()}; "
            "make room and give the same command again"
        ) from None
    finally:
        log.close()
        feed.close()
        keeper.abandon()
    if said := feed.unreadable():
        console.print(f"warning: {said}", markup=False)
    trained = encoder_of(state)
    if monitor is None:
        agree(0, False)  # the first process has more to do, and the others have to be there
        return {}
    summary = finish(out, config, source, log, look or monitor.look(trained), trained)
    summary |= {f"{name}_untrained": value for name, value in before.items() if name.startswith(COMPARED)}
    summary |= monitor.principal_components(trained.dim)
    summary["best_step"] = keeper.best_step()
    if total:
        whole = watching + drawing + total
        summary |= {"monitor/time_share": watching / whole, "figures/time_share": drawing / whole}
    write_summary(out, summary)
    agree(0, False)
    return summary


def begin(out: Path, trainer: Trainer, source: Source, mesh: Mesh) -> tuple[InputPipeline, State, int, np.ndarray]:
    """What to go on with: the feed, the state, its step, and the metrics [n, ...] of the steps since the last line."""
    steps = saved_steps(out)
    none = np.zeros((0, len(METRICS)), np.float32)
    if not steps:
        return InputPipeline(source, mesh, None), trainer.init(), 0, none
    progress = read_progress(out, steps[-1])
    state = restore(out, steps[-1], jax.eval_shape(trainer.init), trainer.shardings)
    window = np.array(progress.get("window") or none, np.float32)
    return InputPipeline(source, mesh, progress.get("data")), state, steps[-1], window


def claim(out: Path, config: Config, source: Source, first: bool) -> None:
    """Make the folder this run's own; only the first process writes.

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
    elif first:
        write_config(out, config, source.shape)
        write_statistics(out, {"mean": source.mean, "scale": source.scale, "noise": source.noise})
    (out / "figures").mkdir(exist_ok=True)


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


def warmed(monitor: Monitor, untrained: Encoder) -> dict[str, Any]:
    """The metrics of an untrained encoder; whatever the monitor compiles is compiled then."""
    monitor.effective_rank(untrained)
    return monitor.look(untrained).metrics


def report(step: int, row: dict[str, Any], look: Look | None) -> str:
    """One line for the terminal; without a look, what there is before training."""
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
    if look is None:
        return f"untrained    {shown}"
    return f"step {step:>6}  loss {row['loss']:.4f}  {shown}  {look.health.sentence}"


def finish(out: Path, config: Config, source: Source, log: Writer, look: Look, encoder: Encoder) -> dict[str, Any]:
    """Draw the last pictures and gather the summary."""
    summary = log.latest()
    if config.monitor.figures:
        figure = out / "figures" / "density.png"
        figures.draw(picture(out, config.steps), look, encoder, source, config.steps, log.rows)
        write_atomically(figure, lambda path: shutil.copyfile(picture(out, config.steps), path))
        if len(source.shape) == 3:
            figures.extremes(out / "figures" / "extremes.png", look)
        frames = sorted((out / "figures").glob("density_*.png"))
        if source.world is not None and source.world.extent is not None and len(frames) > 1:
            figures.animate(out / "figures" / "density.gif", frames)
        summary["figure"] = str(figure)
    summary |= {"law": encoder.base, "health_sentence": look.health.sentence, "device": jax.devices()[0].device_kind}
    return summary


def picture(out: Path, step: int) -> Path:
    """Where the picture of a look goes."""
    return out / "figures" / f"density_{step:07d}.png"


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
