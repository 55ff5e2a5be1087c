"""Orbax checkpoints: asynchronous writing during a run, and restoring."""

import gc
import io
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jepa_jax.errors import ConfigError, first_line

CHECKPOINT_FOLDER = "checkpoints"
PROGRESS_ITEM = "progress"  # item of a checkpoint that holds JSON
VALUE_METRIC = "value"  # metric that determines the best checkpoint
OLD_ITEM_NAMES = {"teacher": "target", "ema": "average"}  # current name -> name in jepa_jax 0.1
STRAGGLER_SECONDS = 0.3  # in which the reads of small files end that began together with one that failed
UNKNOWN_VALUE = -1e300  # value of a checkpoint that was not evaluated


class SaveError(RuntimeError):
    """Error in writing a checkpoint; its message is the reason, in one line."""


class Checkpoints:
    """Writer of the checkpoints of a run, which keeps the newest ones and the best one.

    Saving is asynchronous and atomic; `close` waits for it. All processes of a run take part in every call.
    """

    def __init__(self, run: Path, keep: int) -> None:
        """Open the checkpoint directory of a run.

        Args:
          run: Run directory.
          keep: Number of the newest checkpoints that are kept, beside the best one.
        """
        policies = ocp.checkpoint_managers
        kept = [policies.LatestN(n=keep), policies.BestN(get_metric_fn=_value, n=1)]
        options = ocp.CheckpointManagerOptions(
            create=True,
            cleanup_tmp_directories=True,  # left by a process that was killed while writing
            best_fn=_value,  # Orbax writes no metrics without it
            preservation_policy=policies.AnyPreservationPolicy(kept),
        )
        self._manager = ocp.CheckpointManager((run / CHECKPOINT_FOLDER).absolute(), options=options)

    def save(self, step: int, state: dict[str, Any], progress: dict[str, Any], value: float | None) -> None:
        """Save a dict of pytrees, each under its own name.

        Args:
          step: Number of steps taken.
          state: Pytrees by name.
          progress: Other values that a continued run needs, as JSON.
          value: Value of the checkpoint, where larger is better; None if it is not known.

        Raises:
          SaveError: If this checkpoint or the previous one cannot be written. Checkpoints that were complete before
            remain.
        """
        # Save a copy: the state is donated, so the next step may overwrite its buffers before the write is complete.
        items = {name: ocp.args.StandardSave(jax.tree.map(jnp.copy, tree)) for name, tree in state.items()}
        args = ocp.args.Composite(**items, **{PROGRESS_ITEM: ocp.args.JsonSave(progress)})
        with _raising_save_errors():
            self._manager.wait_until_finished()  # while another write is pending, Orbax would silently skip this one
            self._manager.save(step, args=args, metrics={VALUE_METRIC: UNKNOWN_VALUE if value is None else value})

    def close(self) -> None:
        """Wait for pending writes.

        Raises:
          SaveError: If a write fails.
        """
        with _raising_save_errors():
            self._manager.wait_until_finished()
        self._manager.close()


@contextmanager
def _raising_save_errors() -> Iterator[None]:
    """Raise any exception in this context as a `SaveError`."""
    try:
        yield
    except Exception as error:  # Orbax and TensorStore raise many types of exceptions
        raise SaveError(first_line(error)) from None


def _value(metrics: dict[str, float]) -> float:
    return metrics[VALUE_METRIC]


def saved_steps(run: Path) -> list[int]:
    """Return the steps of the checkpoints of a run, in ascending order.

    A checkpoint has another name while it is being written, and does not count until it is complete.
    """
    folder = run / CHECKPOINT_FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def values(run: Path) -> dict[int, float]:
    """Return step -> value for the checkpoints of a run that were evaluated."""
    found = {}
    for step in saved_steps(run):
        try:
            path = run / CHECKPOINT_FOLDER / str(step) / "metrics" / "metrics"
            value = json.loads(path.read_text())[VALUE_METRIC]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):  # of another version, or a converted model
            continue
        if isinstance(value, int | float) and value != UNKNOWN_VALUE:
            found[step] = value
    return found


def read_progress(run: Path, step: int) -> dict[str, Any]:
    """Return what was saved as `progress` beside the state; {} for a checkpoint without it.

    Raises:
      ConfigError: If it is damaged.
    """
    folder = (run / CHECKPOINT_FOLDER / str(step) / PROGRESS_ITEM).absolute()
    if not folder.is_dir():
        return {}
    try:
        return dict(json.loads((folder / "metadata").read_text()))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise damaged(run, step, error) from None


def restore(run: Path, step: int, abstract: dict[str, Any], shardings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Restore named pytrees of a checkpoint.

    Args:
      run: Run directory.
      step: Step of the checkpoint.
      abstract: Abstract pytrees by name, which determine the structure, shapes and dtypes.
      shardings: Sharding of each array, independent of the mesh from which it was saved; None places all arrays on the
        first device of this process.

    Raises:
      ConfigError: If the checkpoint is damaged or belongs to another architecture.
    """
    folder = (run / CHECKPOINT_FOLDER / str(step)).absolute()
    # Explicit, because Orbax assumes no sharding if several processes are connected.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = shardings or jax.tree.map(lambda _: here, abstract)
    abstract = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings)
    try:
        with quiet_failure(), ocp.StandardCheckpointer() as checkpointer:
            return {name: checkpointer.restore(_item(folder, name), tree) for name, tree in abstract.items()}
    except Exception as error:  # a damaged file raises many types of exceptions
        raise damaged(run, step, error) from None


@contextmanager
def quiet_failure() -> Iterator[None]:
    """Hold back the tracebacks that TensorStore prints for reads which end after another one failed."""
    with redirect_stderr(io.StringIO()) as held:
        try:
            yield
        except BaseException:
            gc.collect()  # asyncio complains about a task when it is collected
            time.sleep(STRAGGLER_SECONDS)
            raise
    sys.stderr.write(held.getvalue())


def _item(folder: Path, name: str) -> Path:
    """Return the folder of an item of a checkpoint."""
    path = folder / name
    return folder / OLD_ITEM_NAMES[name] if name in OLD_ITEM_NAMES and not path.is_dir() else path


def damaged(run: Path, step: int, error: Exception) -> ConfigError:
    """Return the error of a checkpoint that cannot be used, which says how to do without it."""
    earlier = [s for s in saved_steps(run) if s != step]
    after = f"step {max(earlier)}" if earlier else "the beginning"
    return ConfigError(
        f"checkpoint {(run / CHECKPOINT_FOLDER / str(step)).absolute()} is damaged or belongs to another architecture "
        f"({first_line(error)}); delete that folder to continue from {after}"
    )


def save_params(folder: Path, params: Any) -> None:
    """Save the parameters of a network that is not trained further, as the only checkpoint of its directory."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / CHECKPOINT_FOLDER / "0" / "params").absolute(), params)


def restore_params(folder: Path, abstract: Any) -> Any:
    """Restore the parameters that `save_params` saved.

    Raises:
      ConfigError: As in `restore`.
    """
    try:
        return restore(folder, 0, {"params": abstract})["params"]
    except ConfigError:
        raise ConfigError(
            f"the weights in {folder} are damaged or belong to another network; convert them again"
        ) from None
