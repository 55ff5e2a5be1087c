"""Orbax checkpoints: writing them while a run goes on, and restoring them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jepa_jax.errors import ConfigError

FOLDER = "checkpoints"
PROGRESS = "progress"  # the item of a checkpoint that holds JSON
VALUE = "value"  # the metric that says which checkpoint is the best
RENAMED = {"teacher": "target", "ema": "average"}  # items as jepa_jax 0.1 called them
WORST = -1e300  # of a checkpoint that was not judged


class SaveError(RuntimeError):
    """A checkpoint could not be written. The message is the reason, in one line."""


class Checkpoints:
    """Writes checkpoints of a run and keeps the newest and the best of them.

    Saving is asynchronous and atomic; `close` waits for it. All processes of a run take part in every call.
    """

    def __init__(self, run: Path, keep: int) -> None:
        """`keep` of the newest stay, and the best one."""
        policies = ocp.checkpoint_managers
        kept = [policies.LatestN(n=keep), policies.BestN(get_metric_fn=_value, n=1)]
        options = ocp.CheckpointManagerOptions(
            create=True,
            cleanup_tmp_directories=True,  # of a process that was killed while it wrote
            best_fn=_value,  # without it no metrics are written
            preservation_policy=policies.AnyPreservationPolicy(kept),
        )
        self._manager = ocp.CheckpointManager((run / FOLDER).absolute(), options=options)

    def save(self, step: int, state: dict[str, Any], progress: dict[str, Any], value: float | None) -> None:
        """Save a dict of pytrees, each under its own name.

        Args:
          progress: what else a run goes on from, as JSON.
          value: the larger, the better; None where it is not known.

        Raises:
          SaveError: this one or the one before cannot be written. What was whole before stays.
        """
        # A copy: the next step is given the state's own buffers to overwrite while this is still being written.
        items = {name: ocp.args.StandardSave(jax.tree.map(jnp.copy, tree)) for name, tree in state.items()}
        args = ocp.args.Composite(**items, **{PROGRESS: ocp.args.JsonSave(progress)})
        with _said():
            self._manager.wait_until_finished()  # or this one would be left out, without a word
            self._manager.save(step, args=args, metrics={VALUE: WORST if value is None else value})

    def close(self) -> None:
        """Wait for what is being written.

        Raises:
          SaveError: it cannot be.
        """
        with _said():
            self._manager.wait_until_finished()
        self._manager.close()


@contextmanager
def _said() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # orbax and tensorstore raise a dozen kinds
        raise SaveError(first_line(error)) from None


def first_line(error: Exception) -> str:
    """The first line of a message, cut to what fits in one."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _value(metrics: dict[str, float]) -> float:
    return metrics[VALUE]


def saved_steps(run: Path) -> list[int]:
    """The steps of a run's checkpoints, ascending. A checkpoint being written has another name until it is whole."""
    folder = run / FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def values(run: Path) -> dict[int, float]:
    """How good each checkpoint of a run is, of those that were judged."""
    found = {}
    for step in saved_steps(run):
        try:
            value = json.loads((run / FOLDER / str(step) / "metrics" / "metrics").read_text())[VALUE]
        except (OSError, ValueError, KeyError, TypeError):  # of another version, or of a converted model
            continue
        if value != WORST:
            found[step] = value
    return found


def read_progress(run: Path, step: int) -> dict[str, Any]:
    """What was saved beside the state as `progress`; empty for a checkpoint that has none."""
    folder = (run / FOLDER / str(step) / PROGRESS).absolute()
    if not folder.is_dir():
        return {}
    try:
        return json.loads((folder / "metadata").read_text())
    except (OSError, ValueError) as error:
        raise _damaged(run, step, error) from None


def restore(run: Path, step: int, abstract: dict[str, Any], shardings: dict[str, Any] | None = None) -> dict[str, Any]:
    """Restore named pytrees of a checkpoint into the structure, shapes and dtypes of `abstract`.

    Args:
      shardings: where each array goes, whatever mesh it was saved from; None for this process's first device.

    Raises:
      ConfigError: the checkpoint is damaged, or of another architecture.
    """
    folder = (run / FOLDER / str(step)).absolute()
    # Said, because where several processes have met Orbax does not assume it.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    shardings = shardings or jax.tree.map(lambda _: here, abstract)
    abstract = jax.tree.map(lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s), abstract, shardings)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return {name: checkpointer.restore(_item(folder, name), tree) for name, tree in abstract.items()}
    except Exception as error:  # orbax and tensorstore raise a dozen kinds for a damaged file
        raise _damaged(run, step, error) from None


def _item(folder: Path, name: str) -> Path:
    """Folder of an item of a checkpoint."""
    path = folder / name
    return folder / RENAMED[name] if name in RENAMED and not path.is_dir() else path


def _damaged(run: Path, step: int, error: Exception) -> ConfigError:
    earlier = [s for s in saved_steps(run) if s != step]
    after = f"step {max(earlier)}" if earlier else "the beginning"
    return ConfigError(
        f"checkpoint {(run / FOLDER / str(step)).absolute()} is damaged or of another architecture "
        f"({first_line(error)}); delete that folder to go on from {after}"
    )


def save_params(folder: Path, params: Any) -> None:
    """Save the parameters of a network that is not trained further: as a run's only checkpoint."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save((folder / FOLDER / "0" / "params").absolute(), params)


def restore_params(folder: Path, abstract: Any) -> Any:
    """What `save_params` saved.

    Raises:
      ConfigError: as `restore`.
    """
    try:
        return restore(folder, 0, {"params": abstract})["params"]
    except ConfigError:
        raise ConfigError(f"the weights in {folder} are damaged or of another network; convert them again") from None
