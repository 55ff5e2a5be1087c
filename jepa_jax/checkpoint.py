"""Keeping a run: Orbax checkpoints, and config.json beside them."""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jepa_jax.config import Config, ConfigError, from_json, to_json
from jepa_jax.encoder import Encoder
from jepa_jax.files import write_atomically
from jepa_jax.models import build_parts, followed, init_parts
from jepa_jax.resolve import law, weights_path

CONFIG_FILE = "config.json"
FOLDER = "checkpoints"


class Checkpoints:
    """Writes the newest checkpoints of a run. Saving is asynchronous and atomic; `close` waits for it."""

    def __init__(self, run: Path, keep: int) -> None:
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        self._manager = ocp.CheckpointManager((run / FOLDER).absolute(), options=options)

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Save a dict of pytrees, each under its own name."""
        # A copy: the next step is given the state's own buffers to overwrite while this is still being written.
        items = {name: ocp.args.StandardSave(jax.tree.map(jnp.copy, tree)) for name, tree in state.items()}
        self._manager.save(step, args=ocp.args.Composite(**items))

    def close(self) -> None:
        """Wait for what is being written."""
        self._manager.wait_until_finished()
        self._manager.close()


def saved_steps(run: Path) -> list[int]:
    """The steps of a run's checkpoints, ascending. A checkpoint being written has another name until it is whole."""
    folder = run / FOLDER
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def restore(run: Path, step: int, abstract: dict[str, Any]) -> dict[str, Any]:
    """Restore named pytrees of a checkpoint into the structure, shapes and dtypes of `abstract`.

    Raises:
      ConfigError: the checkpoint is damaged, or of another architecture.
    """
    folder = (run / FOLDER / str(step)).absolute()
    # Said, because where several processes have met Orbax does not assume it.
    here = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    abstract = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here), abstract)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            return {name: checkpointer.restore(folder / name, tree) for name, tree in abstract.items()}
    except Exception as error:  # orbax and tensorstore raise a dozen kinds for a damaged file
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        earlier = [s for s in saved_steps(run) if s != step]
        after = f"step {max(earlier)}" if earlier else "the beginning"
        raise ConfigError(
            f"checkpoint {folder} is damaged or of another architecture ({reason}); "
            f"delete that folder to go on from {after}"
        ) from None


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


def load_run(run: Path, weights: str | None = None) -> Encoder:
    """The trained encoder of a run directory, from its newest checkpoint.

    Args:
      run: a directory made by `python -m train`.
      weights: `raw`, `ema`, or None for what the run's recipe takes as its result.

    Raises:
      ConfigError: not a run directory, no checkpoint yet, a damaged one, or no moving average where it is asked for.
    """
    config, shape = read_config(run)
    steps = saved_steps(run)
    if not steps:
        raise ConfigError(f"{run} has no checkpoint yet; train it first")
    parts = build_parts(config, shape)
    model = parts["encoder"]
    params = jax.eval_shape(lambda: init_parts(parts, jax.random.key(0)))
    item, *_ = path = weights_path(config, weights)
    abstract = {"params": params, "target": followed(params), "average": params["encoder"]}[item]
    found = restore(run, steps[-1], {item: abstract})
    for name in path:
        found = found[name]
    return Encoder(found, model.apply, shape, model.dim, law(config), model.null_directions)
