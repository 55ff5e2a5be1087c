"""Ownership of the folder of a run: whose it is, and that only one program trains in it at a time."""

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jepa_jax.checkpoint import CHECKPOINT_FOLDER, saved_steps
from jepa_jax.config import Config
from jepa_jax.config_json import differences
from jepa_jax.data import Source
from jepa_jax.errors import ConfigError
from jepa_jax.files import make_directory
from jepa_jax.initial_weights import InitialWeights, description
from jepa_jax.run_dir import (
    CONFIG_FILE,
    INITIAL_FILE,
    kind_of,
    read_config,
    read_export,
    read_statistics,
    write_config,
    write_initial,
    write_statistics,
)

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is locked
    fcntl = None


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Lock a folder against other programs; the system drops the lock of a process that ends, however it ends.

    Raises:
      ConfigError: If another program holds the lock.
    """
    if fcntl is None:
        yield
        return
    folder = os.open(out, os.O_RDONLY)
    try:
        # Some network file systems have no locks, which is no reason not to train.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"another program trains in {out} now; wait for it, or name another folder with `out`"
                ) from None
        yield
    finally:
        os.close(folder)


def check_folder(out: Path, config: Config, source: Source) -> str | None:
    """Check that a run may be started or continued in a folder, without changing anything in it.

    A run without a checkpoint has nothing to lose, so that its folder belongs to nobody.

    Args:
      out: Folder of the run.
      config: Resolved config.
      source: Data of the run.

    Returns:
      A sentence about the schedule if the run is to take more steps than before, or None.

    Raises:
      ConfigError: If the folder holds a run of another config or of other data, or another model.
    """
    if os.fsencode(out) != str(out).encode(errors="replace"):
        raise ConfigError(f"the name of {out} is not UTF-8, which checkpoints need; name another folder with `out`")
    if not (out / CONFIG_FILE).exists():
        return None
    if not saved_steps(out):
        _refuse_model(out)
        return None
    if kind_of(out) == "converted":
        raise ConfigError(f"{out} holds a converted model; name another folder with `out`")
    before, shape = read_config(out)
    same_data = _same_data(out, source)
    if same_data:  # under another name, perhaps
        before = dataclasses.replace(before, data=dataclasses.replace(before.data, source=config.data.source))
    longer = config.steps > before.steps
    changed = differences(dataclasses.replace(before, steps=config.steps) if longer else before, config)
    if changed or shape != source.shape:
        what = "; ".join(changed) or f"samples of shape {list(shape)}, not {list(source.shape)}"
        raise ConfigError(f"{out} holds a run of another config ({what}); name another folder with `out`")
    if same_data is False:
        raise ConfigError(
            f"{config.data.source} holds other samples than when the run in {out} began; "
            "restore it, or name another folder with `out`"
        )
    return _about_schedule(out, before, config) if longer else None


def claim(out: Path, config: Config, source: Source, initial: InitialWeights | None = None) -> None:
    """Reserve a folder that `check_folder` accepted.

    Args:
      out: Folder of the run.
      config: Resolved config.
      source: Data of the run.
      initial: Weights of another model from which it starts, or None.

    Raises:
      ConfigError: If files cannot be written in it.
    """
    for folder in ("figures", CHECKPOINT_FOLDER):
        make_directory(out / folder)
    if not saved_steps(out):
        for frame in (out / "figures").glob("density_*.png"):  # of a run that did not get far
            frame.unlink()
        statistics = {"mean": source.mean, "scale": source.scale, "noise": source.noise}
        digest = {} if source.digest is None else {"digest": np.frombuffer(source.digest, np.uint8)}
        write_statistics(out, statistics | {"noise_is_local": source.noise_is_local} | digest)
        if initial is not None:
            write_initial(out, description(initial, config))
        else:
            (out / INITIAL_FILE).unlink(missing_ok=True)
    elif read_config(out)[0].steps == config.steps:
        return
    write_config(out, config, source.shape)


def _refuse_model(out: Path) -> None:
    """Check that the config.json of a folder without checkpoints is that of a run, or empty after a crash.

    Raises:
      ConfigError: If it belongs to another model, such as one of Hugging Face.
    """
    if not (out / CONFIG_FILE).read_bytes().strip():
        return
    if kind_of(out) != "run" or read_export(out) is not None:
        raise ConfigError(f"{out} holds another model; name another folder with `out`")


def _same_data(out: Path, source: Source) -> bool | None:
    """Return whether a run has seen the samples of a source; None if that is not known."""
    stored = (read_statistics(out) or {}).get("digest")
    if stored is None or source.digest is None:
        return None
    return stored.astype(np.uint8).tobytes() == source.digest


def _about_schedule(out: Path, before: Config, config: Config) -> str:
    """Return a sentence about the learning rate of a run that takes more steps than it was to take."""
    step = saved_steps(out)[-1]
    share = 0.5 * (1 + math.cos(math.pi * step / config.steps))
    return (
        f"{out} was to take {before.steps} steps and now takes {config.steps}: from step {step} on, the learning rate "
        f"follows the cosine over all {config.steps}, and begins at about {share:.0%} of its peak"
    )
