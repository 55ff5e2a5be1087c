"""Where the metrics of a run go: metrics.jsonl, and where they are asked for TensorBoard and Weights & Biases."""

import json
import math
import os
import uuid
from pathlib import Path
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.files import write_atomically
from jepa_jax.run_dir import CONFIG_FILE

KINDS = ("jsonl", "tensorboard", "wandb")


class Writer:
    """Takes rows of metrics, each with its `step`. As it stands it keeps nothing: the null log."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        """Take one row."""

    def latest(self) -> dict[str, Any]:
        """The last value of each metric that is remembered."""
        return {k: v for row in self.rows for k, v in row.items()}

    def close(self) -> None:
        """Finish writing."""


class MetricsLog(Writer):
    """Appends to metrics.jsonl, and hands each row on. Opening it for a resume drops every line after that step."""

    def __init__(self, path: Path, resumed_at: int, *others: Writer) -> None:
        super().__init__()
        self.rows = [row for row in read_rows(path) if row["step"] <= resumed_at]
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(path, lambda temporary: temporary.write_text(text))
        self._file = path.open("a")
        self._others = others

    def write(self, row: dict[str, Any]) -> None:
        """Append one line, and push it out before any checkpoint that follows it."""
        row = {k: clean(v) for k, v in row.items()}
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for other in self._others:
            other.write(row)

    def close(self) -> None:
        """Close the file, and the others."""
        self._file.close()
        for other in self._others:
            other.close()


class TensorBoard(Writer):
    """An event file in FOLDER/tensorboard: the numbers of clean rows, on disk after ten seconds or when closed.

    Event files only grow. One opened for a resume begins by telling TensorBoard to hide what came after that step.
    """

    def __init__(self, folder: Path, resumed_at: int) -> None:
        from tensorboardX import SummaryWriter  # here, because it imports torch where there is one

        super().__init__()
        # The name has the time in seconds only. A run cut and resumed within one second would overwrite its file; with
        # the step in the name it can lose no more than what it is about to write again.
        self._writer = SummaryWriter(
            str(folder / "tensorboard"), purge_step=resumed_at + 1, flush_secs=10, filename_suffix=f".{resumed_at:09d}"
        )

    def write(self, row: dict[str, Any]) -> None:
        """Add every number, under its own name; words and what was not finite are left out."""
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self._writer.close()


class WeightsAndBiases(Writer):
    """A run at Weights & Biases, with the config, under the folder's name, in WANDB_PROJECT or `jepa-jax`.

    Its id stands in FOLDER/wandb_id.txt, so that a resumed run is continued there. Of a step that is written again the
    first values stay.

    Raises:
      ConfigError: wandb is not installed, or does not start.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ConfigError("wandb is not installed: pip install 'jepa-jax[wandb]', or log without it") from None

        super().__init__()
        name = folder / "wandb_id.txt"
        if not name.exists():
            write_atomically(name, lambda temporary: temporary.write_text(uuid.uuid4().hex))
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "jepa-jax"),
                name=folder.absolute().name,
                dir=folder,
                id=name.read_text(),
                resume="allow",
                config=json.loads((folder / CONFIG_FILE).read_text()),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"wandb does not start: {reason} (WANDB_MODE=offline needs no account)") from None

    def write(self, row: dict[str, Any]) -> None:
        """Log what has a value."""
        self._run.log({name: value for name, value in row.items() if value is not None}, step=row["step"])

    def close(self) -> None:
        """Send what is waiting."""
        self._run.finish()


def open_log(folder: Path, step: int, kinds: tuple[str, ...]) -> MetricsLog:
    """Open a run's log at a step, 0 for a new run.

    Args:
      folder: the run's, with its config.json.
      step: that of the checkpoint the run goes on from; what was logged after it is dropped or hidden.
      kinds: any of KINDS; jsonl is always there.

    Raises:
      ConfigError: an unknown kind, or one that cannot be opened.
    """
    unknown = sorted(set(kinds) - set(KINDS))
    if unknown:
        raise ConfigError(f"unknown log {unknown[0]!r}: take any of {', '.join(KINDS)}")
    others: list[Writer] = []
    if "wandb" in kinds:  # first: it is the one that can refuse
        others.append(WeightsAndBiases(folder))
    if "tensorboard" in kinds:
        others.append(TensorBoard(folder, step))
    return MetricsLog(folder / "metrics.jsonl", step, *others)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics file; a last line cut short by a crash is left out."""
    rows = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError:
                break
    return rows


def clean(value: Any) -> Any:
    """A JSON value: numbers to at most 9 digits, and null for what is not finite, which JSON cannot hold."""
    if value is None or isinstance(value, str | int):
        return value
    value = float(value)
    return float(f"{value:.9g}") if math.isfinite(value) else None
