"""Small trained runs. Each is trained once in a session, by whichever of its workers needs it first."""

import dataclasses
import fcntl
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jepa_jax import config as cfg
from jepa_jax.config import Config
from train.loop import train

SMALL = Config(
    steps=20,
    data=cfg.Data(batch_size=32),
    encoder=cfg.MLP(widths=(16,), dim=8),
    objective=cfg.Objective(anti_collapse="sigreg"),
    monitor=cfg.Monitor(every=0, probes=32, figures=False),
)
CHECKPOINTED = Config(
    steps=40,
    data=cfg.Data(batch_size=32),
    encoder=cfg.MLP(widths=(16,), dim=8),
    monitor=cfg.Monitor(every=20, probes=64, log_every=10, figures=False),
    checkpoint=cfg.Checkpoints(every=20),
)


def with_term(term: Any) -> Config:
    return dataclasses.replace(SMALL, objective=cfg.Objective(anti_collapse=term))


def of_data(data: cfg.Data, base: Config = SMALL) -> Config:
    return dataclasses.replace(base, steps=2, data=data)


def random_arrays(folder: Path, *shape: int) -> cfg.Data:
    path = folder / f"{'x'.join(map(str, shape))}.npz"
    np.savez(path, x=np.random.default_rng(0).uniform(0, 1, (64, *shape)))
    return cfg.Data(source=str(path), batch_size=16)


CONFIGS: dict[str, Callable[[Path], Config]] = {
    "sphere": lambda _: with_term("uniformity"),
    "free": lambda _: with_term("vicreg"),  # p(z) is unknown
    "normal": lambda _: SMALL,
    "checkpointed": lambda _: CHECKPOINTED,
    "digits": lambda _: of_data(cfg.Data("digits", batch_size=32, holdout=0.5, shift=1), with_term("uniformity")),
    "sprites": lambda _: of_data(cfg.Data("sprites", batch_size=32), with_term("uniformity")),
    "images": lambda folder: of_data(random_arrays(folder, 8, 8, 3)),
    "vectors": lambda folder: of_data(random_arrays(folder, 5)),
}


class TrainedRuns:
    """Folder of the runs: `runs / "sphere"` is one, trained if no other worker has. Nothing may change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __truediv__(self, name: str) -> Path:
        out = self.folder / name
        with (self.folder / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (out / "summary.json").exists():
                train(CONFIGS[name](self.folder), out, Console(file=io.StringIO()))
        return out
