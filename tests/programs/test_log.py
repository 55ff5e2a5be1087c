"""Where the metrics of a run go."""

import json
import math
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboardX.proto import event_pb2

from jepa_jax.errors import ConfigError
from train.log import MetricsLog, Writer, open_log, read_rows

ROWS = [{"step": step, "loss": 1 / step, "density/spearman": 0.5, "health": "healthy"} for step in (10, 20, 30)]


def events(path: Path) -> Iterator[Any]:
    """The events of one file: each is its length, a checksum of that, the event, and a checksum of that."""
    data = path.read_bytes()
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + size])
        data = data[size + 16 :]


def shown(folder: Path) -> dict[str, dict[int, float]]:
    """What TensorBoard shows: the files in order of their names, without what a later start hides."""
    found: dict[str, dict[int, float]] = {}
    for path in sorted((folder / "tensorboard").iterdir()):
        for event in events(path):
            if event.session_log.status == event.session_log.START:
                found = {tag: {s: v for s, v in line.items() if s < event.step} for tag, line in found.items()}
            for value in event.summary.value:
                found.setdefault(value.tag, {})[event.step] = value.simple_value
    return found


def write(folder: Path, step: int, rows: list[dict[str, Any]], *kinds: str) -> MetricsLog:
    log = open_log(folder, step, kinds)
    for row in rows:
        log.write(row)
    log.close()
    return log


@pytest.mark.parametrize("kinds", [(), ("jsonl",), ("tensorboard",), ("jsonl", "tensorboard")])
def test_jsonl_is_always_there(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    log = write(tmp_path, 0, ROWS, *kinds)
    assert log.rows == read_rows(tmp_path / "metrics.jsonl")
    assert [row["step"] for row in log.rows] == [10, 20, 30]
    assert log.latest()["loss"] == pytest.approx(1 / 30)
    assert (tmp_path / "tensorboard").exists() == ("tensorboard" in kinds)


def test_a_resume_drops_the_lines_after_its_step(tmp_path: Path) -> None:
    write(tmp_path, 0, ROWS)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')  # a crash while writing
    log = write(tmp_path, 20, [{"step": 30, "loss": 7.0}])
    assert read_rows(tmp_path / "metrics.jsonl") == log.rows
    assert [(row["step"], row["loss"]) for row in log.rows] == [(10, 0.1), (20, 0.05), (30, 7.0)]


def test_tensorboard_shows_the_numbers_of_the_lines(tmp_path: Path) -> None:
    write(tmp_path, 0, ROWS, "tensorboard")
    found = shown(tmp_path)
    assert set(found) == {"loss", "density/spearman"}
    assert found["loss"] == pytest.approx({10: 0.1, 20: 0.05, 30: 1 / 30})


def test_tensorboard_hides_what_a_resume_writes_again(tmp_path: Path) -> None:
    write(tmp_path, 0, ROWS, "tensorboard")
    again = [{"step": 25, "loss": 7.0}]
    write(tmp_path, 20, again, "tensorboard")
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2  # also within one second
    assert shown(tmp_path)["loss"] == pytest.approx({10: 0.1, 20: 0.05, 25: 7.0})
    write(tmp_path, 0, again, "tensorboard")  # no checkpoint was found: all of it goes
    assert shown(tmp_path)["loss"] == {25: 7.0}


def test_what_is_not_finite_is_null_in_json_and_missing_elsewhere(tmp_path: Path) -> None:
    row = {"step": 1, "a": math.nan, "b": np.float32(np.inf), "c": -math.inf, "d": np.float32(0.1), "e": 2, "f": None}
    write(tmp_path, 0, [row], "tensorboard")
    line = (tmp_path / "metrics.jsonl").read_text()
    assert json.loads(line) == {"step": 1, "a": None, "b": None, "c": None, "d": 0.100000001, "e": 2, "f": None}
    assert set(shown(tmp_path)) == {"d", "e"}


def test_the_null_log_takes_everything_and_keeps_nothing(tmp_path: Path) -> None:
    log = Writer()
    log.write(ROWS[0])
    log.close()
    assert log.rows == []
    assert log.latest() == {}


class FakeWandb(types.ModuleType):
    """As much of wandb as is used."""

    class Error(Exception):
        pass

    def __init__(self, refuses: str | None = None) -> None:
        super().__init__("wandb")
        self.refuses = refuses
        self.started: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, Any]]] = []
        self.finished = 0

    def init(self, **how: Any) -> "FakeWandb":
        if self.refuses:
            raise self.Error(self.refuses)
        self.started.append(how)
        return self

    def log(self, row: dict[str, Any], step: int) -> None:
        self.logged.append((step, row))

    def finish(self) -> None:
        self.finished += 1


def test_wandb_goes_on_under_the_same_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    (tmp_path / "config.json").write_text('{"steps": 30}')
    write(tmp_path, 0, [{"step": 1, "a": 0.5, "b": math.nan, "health": "healthy"}], "wandb")
    write(tmp_path, 1, [], "wandb")
    first, second = wandb.started
    assert first == second
    assert first["config"] == {"steps": 30}
    assert first["name"] == tmp_path.name
    assert first["id"]
    assert first["resume"] == "allow"
    assert wandb.logged == [(1, {"step": 1, "a": 0.5, "health": "healthy"})]
    assert wandb.finished == 2


def test_trackio_goes_on_under_the_same_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = FakeWandb()
    monkeypatch.setitem(sys.modules, "trackio", trackio)
    (tmp_path / "config.json").write_text('{"steps": 30}')
    write(tmp_path, 0, [{"step": 1, "a": 0.5, "b": math.nan}], "trackio")
    write(tmp_path, 1, [], "trackio")
    first, second = trackio.started
    assert first == second
    assert first["name"].startswith(f"{tmp_path.name}-")
    assert (first["project"], first["config"], first["resume"]) == ("jepa-jax", {"steps": 30}, "allow")
    assert trackio.logged == [(1, {"step": 1, "a": 0.5})]
    assert trackio.finished == 2


@pytest.mark.parametrize(
    ("kinds", "module", "says"),
    [
        (("wandb",), None, r"pip install 'jepa-jax\[wandb\]'"),
        (("tensorboard", "wandb"), FakeWandb("no key:\nlog in"), "wandb does not start: no key: log in"),
        (("trackio",), None, r"pip install 'jepa-jax\[trackio\]'"),
        (("tensorbord",), None, "unknown log 'tensorbord'; known: jsonl, tensorboard, wandb, trackio"),
    ],
)
def test_what_cannot_be_opened_is_said_in_one_line_and_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kinds: tuple[str, ...], module: Any, says: str
) -> None:
    for name in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, module)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match=says) as caught:
        open_log(tmp_path, 0, kinds)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "metrics.jsonl").exists()
    assert not (tmp_path / "tensorboard").exists()
