"""Keeping a run: Orbax checkpoints, and config.json beside them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jepa_jax.config import Config
from jepa_jax.config_json import from_json, to_json
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError
from jepa_jax.files import write_atomically
from jepa_jax.models import build_parts, followed, init_parts
from jepa_jax.preprocessing import Preprocessing
from jepa_jax.resolve import law, weights_path

CONFIG_FILE = "config.json"
FOLDER = "checkpoints"
PROGRESS = "progress"  # the item of a checkpoint that holds JSON
VALUE = "value"  # the metric that says which checkpoint is the best
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
            return {name: checkpointer.restore(folder / name, tree) for name, tree in abstract.items()}
    except Exception as error:  # orbax and tensorstore raise a dozen kinds for a damaged file
        raise _damaged(run, step, error) from None


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


def write_config(run: Path, config: Config, shape: tuple[int, ...]) -> None:
    """Write config.json: the resolved config, and the shape of one sample, which the weights depend on."""
    tree = {**json.loads(to_json(config)), "sample_shape": list(shape)}
    write_atomically(run / CONFIG_FILE, lambda path: path.write_text(json.dumps(tree, indent=2) + "\n"))


def read_config(run: Path) -> tuple[Config, tuple[int, ...]]:
    """The config and sample shape of a run directory.

    Raises:
      ConfigError: there is none, or it cannot be read.
    """
    path = run / CONFIG_FILE
    try:
        tree = json.loads(path.read_text())
        shape = tuple(int(n) for n in tree.pop("sample_shape"))
    except FileNotFoundError:
        raise ConfigError(f"{run} is not a run directory: it has no {CONFIG_FILE}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is damaged: {error}") from None
    return from_json(json.dumps(tree)), shape


def load_run(run: Path, weights: str | None = None, step: str | None = None) -> Encoder:
    """The trained encoder of a run directory.

    Args:
      run: a directory made by `python -m train`.
      weights: `raw`, `ema`, or None for what the run's recipe takes as its result.
      step: of the checkpoint: a number, `best`, or None for the newest.

    Raises:
      ConfigError: not a run directory, no checkpoint yet or no such one, a damaged one, or no moving average where it
        is asked for.
    """
    config, shape = read_config(run)
    number = _chosen(run, step)
    parts = build_parts(config, shape)
    model = parts["encoder"]
    params = jax.eval_shape(lambda: init_parts(parts, jax.random.key(0)))
    item, *_ = path = weights_path(config, weights)
    abstract = {"params": params, "target": followed(params), "average": params["encoder"]}[item]
    found = restore(run, number, {item: abstract})
    for name in path:
        found = found[name]
    return Encoder(
        found, model.apply, shape, model.dim, law(config), model.null_directions, preprocessing=_as_read(config, shape)
    )


def _as_read(config: Config, shape: tuple[int, ...]) -> Preprocessing | None:
    """How the pictures of a stream were brought to their size; None for what had its size already."""
    size = config.data.size
    if size is None or shape[:2] != (size, size) or len(shape) != 3:
        return None
    channels = shape[2]
    return Preprocessing(
        (size, size), size, "bicubic", (0.0,) * channels, (1.0,) * channels, channels, source="as in training"
    )


def _chosen(run: Path, step: str | None) -> int:
    steps, judged = saved_steps(run), values(run)
    if not steps:
        raise ConfigError(f"{run} has no checkpoint yet; train it first")
    if step is None:
        return steps[-1]
    if step == "best":
        if not judged:
            raise ConfigError(f"{run} has no best checkpoint: none was judged by a metric; name a step of {steps}")
        return max(judged, key=lambda s: (judged[s], s))
    if not step.isdigit() or int(step) not in steps:
        raise ConfigError(f"{run} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}, or take best")
    return int(step)
