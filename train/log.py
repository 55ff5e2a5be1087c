"""Logs of the metrics of a run: metrics.jsonl, and on request TensorBoard, Weights & Biases and Trackio."""

import json
import math
import os
import uuid
from pathlib import Path
from typing import Any

from jepa_jax.errors import ConfigError
from jepa_jax.files import write_atomically
from jepa_jax.run_dir import CONFIG_FILE

WRITER_KINDS = ("jsonl", "tensorboard", "wandb", "trackio")


class Writer:
    """Base class of the writers of metrics, whose rows contain the `step`; this class itself discards them."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any]) -> None:
        """Write one row."""

    def latest(self) -> dict[str, Any]:
        """Return the last value of each metric in the rows that are kept in memory."""
        return {k: v for row in self.rows for k, v in row.items()}

    def close(self) -> None:
        """Complete the writing."""


class MetricsLog(Writer):
    """Writer of metrics.jsonl, which passes each row on; opened at a step, it drops all lines after that step."""

    def __init__(self, path: Path, resumed_at: int, *others: Writer) -> None:
        super().__init__()
        self.rows = [row for row in read_rows(path) if row["step"] <= resumed_at]
        text = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomically(path, lambda temporary: temporary.write_text(text))
        self._file = path.open("a")
        self._others = others

    def write(self, row: dict[str, Any]) -> None:
        """Append one line, and flush it, so that it is in the file before any later checkpoint."""
        row = {k: clean(v) for k, v in row.items()}
        self.rows.append(row)
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
        for other in self._others:
            other.write(row)

    def close(self) -> None:
        """Close the file and the other writers."""
        self._file.close()
        for other in self._others:
            other.close()


class TensorBoard(Writer):
    """Writer of an event file in FOLDER/tensorboard, with the numbers of cleaned rows.

    The numbers are on disk after ten seconds or when the writer is closed. Event files only grow; a file that is opened
    for a resumed run first tells TensorBoard to hide all events after that step.
    """

    def __init__(self, folder: Path, resumed_at: int) -> None:
        from tensorboardX import SummaryWriter  # imported here, because it imports torch if that is installed

        super().__init__()
        # The name contains the time only to a second, so a run that is interrupted and resumed within one second would
        # overwrite its file. With the step in the name, it overwrites only events that it will write again.
        self._writer = SummaryWriter(
            str(folder / "tensorboard"), purge_step=resumed_at + 1, flush_secs=10, filename_suffix=f".{resumed_at:09d}"
        )

    def write(self, row: dict[str, Any]) -> None:
        """Add every number under its own name; strings and values that were not finite are left out."""
        for name, value in row.items():
            if name != "step" and isinstance(value, int | float):
                self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Write the pending events and close the file."""
        self._writer.close()


class WeightsAndBiases(Writer):
    """Writer of a run at Weights & Biases, with the config and the folder's name, in WANDB_PROJECT or `jepa-jax`.

    The file FOLDER/wandb_id.txt contains its id, so that a resumed run continues the same run there. If a step is
    written again, the first values are kept.

    Raises:
      ConfigError: If wandb is not installed or does not start.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import wandb  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ConfigError("wandb is not installed: pip install 'jepa-jax[wandb]', or log without it") from None

        super().__init__()
        try:
            self._run = wandb.init(
                project=os.environ.get("WANDB_PROJECT", "jepa-jax"),
                name=folder.absolute().name,
                dir=folder,
                id=_identity(folder / "wandb_id.txt"),
                resume="allow",
                config=json.loads((folder / CONFIG_FILE).read_text()),
            )
        except wandb.Error as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"wandb does not start: {reason} (WANDB_MODE=offline needs no account)") from None

    def write(self, row: dict[str, Any]) -> None:
        """Log the metrics that have a value."""
        self._run.log({name: value for name, value in row.items() if value is not None}, step=row["step"])

    def close(self) -> None:
        """Send the pending rows."""
        self._run.finish()


class Trackio(Writer):
    """Writer of a run of Trackio, on this machine unless TRACKIO_SPACE_ID names a place, in TRACKIO_PROJECT.

    Its name is that of the folder and an id in the file FOLDER/trackio_id.txt, by which a resumed run continues it.

    Raises:
      ConfigError: If trackio is not installed or does not start.
    """

    def __init__(self, folder: Path) -> None:
        try:
            import trackio  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise ConfigError("trackio is not installed: pip install 'jepa-jax[trackio]', or log without it") from None

        super().__init__()
        try:
            trackio.init(
                project=os.environ.get("TRACKIO_PROJECT", "jepa-jax"),
                name=f"{folder.absolute().name}-{_identity(folder / 'trackio_id.txt')[:8]}",
                config=json.loads((folder / CONFIG_FILE).read_text()),
                resume="allow",
            )
        except Exception as error:  # it has no class of errors of its own
            raise ConfigError(f"trackio does not start: {' '.join(str(error).split())}") from None
        self._trackio = trackio

    def write(self, row: dict[str, Any]) -> None:
        """Log the metrics that have a value."""
        self._trackio.log({name: value for name, value in row.items() if value is not None}, step=row["step"])

    def close(self) -> None:
        """Send the pending rows."""
        self._trackio.finish()


def _identity(file: Path) -> str:
    """Return the id in a file, which is made if there is none."""
    if not file.exists():
        write_atomically(file, lambda temporary: temporary.write_text(uuid.uuid4().hex))
    return file.read_text()


def open_log(folder: Path, step: int, kinds: tuple[str, ...]) -> MetricsLog:
    """Open the log of a run at a step.

    Args:
      folder: Folder of the run, with its config.json.
      step: Step of the checkpoint from which the run continues, or 0; later rows are dropped or hidden.
      kinds: Any of WRITER_KINDS; jsonl is always included.

    Raises:
      ConfigError: If a kind is unknown or cannot be opened.
    """
    unknown = sorted(set(kinds) - set(WRITER_KINDS))
    if unknown:
        raise ConfigError(f"unknown log {unknown[0]!r}; known: {', '.join(WRITER_KINDS)}")
    others: list[Writer] = []
    for kind, writer in (("wandb", WeightsAndBiases), ("trackio", Trackio)):  # first, because only these may fail
        if kind in kinds:
            others.append(writer(folder))
    if "tensorboard" in kinds:
        others.append(TensorBoard(folder, step))
    return MetricsLog(folder / "metrics.jsonl", step, *others)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read the complete lines of a metrics file, up to the first that a crash truncated or damaged."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                break
            if not isinstance(row, dict) or not isinstance(row.get("step"), int):
                break
            rows.append(row)
    return rows


def clean(value: Any) -> Any:
    """Return a value for JSON.

    Numbers are rounded to 9 significant digits. A number that is not finite becomes None, because JSON has no such
    numbers.
    """
    if value is None or isinstance(value, str | int):
        return value
    value = float(value)
    return float(f"{value:.9g}") if math.isfinite(value) else None
