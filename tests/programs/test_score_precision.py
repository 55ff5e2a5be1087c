"""The cost of a lower precision, measured on some of the samples before the others are scored with it."""

import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from rich.console import Console

from jepa_jax.errors import ConfigError
from score import __main__ as program
from score import precision
from score.inputs import open_inputs
from score.options import REFUSED, WARNED, Arguments
from score.run import prepare
from tests.helpers.tables import read

QUIET = Console(quiet=True)


@pytest.fixture
def costing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function by which a lower precision, which a CPU lacks, moves scores by so many nats at most."""

    def set_cost(nats: float) -> None:
        whole = precision.score_batches

        def moved(f: Any, xs: Any, eps: float, **options: Any) -> Any:
            low, options["precision"] = options["precision"] != "float32", "float32"
            rng = np.random.default_rng(0)
            for batch in whole(f, xs, eps, **options):
                score = np.asarray(batch.score, np.float64)
                yield batch._replace(score=score + low * nats * rng.uniform(-1, 1, len(score)))

        monkeypatch.setattr(precision, "score_batches", moved)

    return set_cost


def test_the_cost_of_scores_that_moved() -> None:
    exact = np.random.default_rng(0).normal(0, 5, 64)
    found = precision.cost(exact, exact, 0)
    assert (found.nats_max, found.spearman, found.samples, found.lost) == (0, 1, 64, 0)
    assert not found.exceeds(WARNED)
    assert precision.cost(exact + 3.0, exact, 0).exceeds(REFUSED)  # the ranks are kept, and the scores are not
    order = np.argsort(exact)
    swapped = exact.copy()
    swapped[order] = exact[order][np.arange(64) // 16 * 16 + 15 - np.arange(64) % 16]
    close = 1e-3 * exact, 1e-3 * swapped  # nats that are few, and ranks that are not kept
    assert precision.cost(close[0], close[1], 0).nats_max < WARNED[0]
    assert precision.cost(close[0], close[1], 0).exceeds(REFUSED)
    lost = np.where(np.arange(64) == 5, np.nan, exact)
    assert precision.cost(lost, exact, 0).exceeds(REFUSED)
    assert precision.cost(exact, lost, 0)[:3] == (63, 0, 0)
    few = precision.cost(exact[:4] + 0.05, exact[:4], 0)  # too few for ranks: the nats alone count
    assert not few.exceeds(WARNED)
    assert np.isnan(few.spearman)


@pytest.mark.parametrize(("nats", "verdict"), [(1e-4, "fine"), (0.3, "warned"), (30.0, "refused")])
def test_a_precision_is_measured_first(
    runs: Any, costing: Any, nats: float, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    costing(nats)
    a = Arguments(str(runs / "digits"), "digits", limit=100)
    encoder, samples = open_inputs(a, QUIET)
    scorer, _ = prepare(a, encoder, samples)
    console = Console(soft_wrap=True)
    assert precision.measure_precision(a, scorer, console) == {}
    assert not capsys.readouterr().out

    low = Arguments(a.model, a.data, limit=100, precision="bf16x3")
    if verdict == "refused":
        with pytest.raises(ConfigError, match=r"bf16x3 is refused; 64 samples.*limits are 1 nats.*--accept-precision"):
            precision.measure_precision(low, scorer, console)
        low = Arguments(a.model, a.data, limit=100, precision="bf16x3", accept_precision=True)
    found = precision.measure_precision(low, scorer, console)["precision_cost"]
    assert found["verdict"] == {"refused": "accepted"}.get(verdict, verdict)
    assert nats / 2 < found["nats_max"] <= nats
    said = capsys.readouterr().out
    assert "bf16x3: 64 samples scored in float32 too" in said
    assert ("warning: bf16x3" in said) == (verdict != "fine")


def test_the_cost_is_in_the_summary(
    runs: Any, costing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def on_any_platform(precision: Any, platform: str) -> Any:
        return jax.default_matmul_precision("highest")

    for name in ("jacobian", "score"):
        monkeypatch.setattr(sys.modules[f"jepa_jax.density.{name}"], "arithmetic", on_any_platform)
    args = [str(runs / "sphere"), "--data", "mixture_2d", "--limit", "20", "--out", str(tmp_path / "s.csv")]
    costing(1e-4)
    assert program.main([*args, "--precision", "bf16x6"]) == 0
    assert json.loads((tmp_path / "s.json").read_text())["precision_cost"]["samples"] == 20
    assert len(read(tmp_path / "s.csv")) == 20
    capsys.readouterr()
    costing(50.0)
    assert program.main([*args, "--precision", "bf16"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: --precision bf16 is refused")
