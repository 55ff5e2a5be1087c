"""The automatic recipe for one's own vectors: what it writes, what it says, and bad input."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import jepa_jax
from jepa_jax import evaluate
from score.__main__ import main as score
from train.__main__ import main as train

QUICK = ["--steps", "100", "--monitor.every", "50", "--monitor.no-figures"]
# Normal kernels compile in less time, and nothing here depends on the kernel.
QUICK += ["--encoder.components", "4", "--encoder.members", "2", "--encoder.widths", "16", "16"]
QUICK += ["--encoder.kernel", "normal"]
RNG = np.random.default_rng(11)


def cloud(n: int = 1500) -> np.ndarray:
    """Two clusters in three columns, of which one is skewed."""
    x = RNG.standard_normal((n, 3)) * [0.3, 1, 0.5] + np.where(RNG.random((n, 1)) < 0.4, 2.0, -1.0)
    return np.c_[x[:, :2], np.exp(x[:, 2])]


def run(tmp_path: Path, x: np.ndarray, name: str = "x", **columns: np.ndarray) -> tuple[Path, dict]:
    np.savez(tmp_path / f"{name}.npz", x=x.astype(np.float32), **columns)
    out = tmp_path / f"run_{name}"
    assert train(["arrays", "--data.source", str(tmp_path / f"{name}.npz"), "--out", str(out), *QUICK]) == 0
    return out, json.loads((out / "summary.json").read_text())


def rows_of(model: Path, data: Path, out: Path) -> dict[str, np.ndarray]:
    assert score([str(model), "--data", str(data), "--out", str(out)]) == 0
    with out.open() as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def test_units_never_matter_and_the_density_is_in_nats(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    x, fresh = cloud(), cloud(600)
    units = 10 ** np.array([-3.7, 4.0, 0.3])
    out, summary = run(tmp_path, x)
    said = capsys.readouterr().out
    assert "Mean log-density of held-out samples" in said
    assert "a kernel density estimate" in said
    for name in ("heldout_nats", "heldout_nats_kde", "heldout_nats_gmm"):
        assert np.isfinite(summary[name])
    assert summary["verdict"] in ("healthy", "kde-better", "gmm-better")
    np.save(tmp_path / "fresh.npy", fresh.astype(np.float32))
    np.save(tmp_path / "scaled.npy", (fresh * units).astype(np.float32))
    # A truth that says the opposite is believed, whatever the held-out samples say.
    opposite = -evaluate.knn_log_density(x).astype(np.float32)
    other, scaled_summary = run(tmp_path, x * units, name="y", log_density=opposite)
    assert scaled_summary["verdict"] == "disagrees"
    one = rows_of(out, tmp_path / "fresh.npy", tmp_path / "one.csv")
    two = rows_of(other, tmp_path / "scaled.npy", tmp_path / "two.csv")
    assert (one["clipped"] == 0).all()
    for name in ("score", "log_density"):
        assert stats.spearmanr(one[name], two[name])[0] > 0.9995
        np.testing.assert_allclose(one[name] - np.log(units).sum(), two[name], atol=0.1)
    shift = np.log(units).sum()
    assert summary["heldout_nats"] - shift == pytest.approx(scaled_summary["heldout_nats"], abs=0.02)
    assert (one["spread"] > 0).all()
    # The table is the density of the encoder in Python, and the summary its mean on rows that were held out.
    encoder = jepa_jax.load(out)
    assert float(encoder.log_density(fresh[0].astype(np.float32))) == pytest.approx(one["log_density"][0], abs=1e-4)
    assert encoder.weights is not None
    assert len(encoder.weights) == 2
    assert one["log_density"].mean() == pytest.approx(summary["heldout_nats"], abs=0.3)


@pytest.mark.parametrize(
    ("x", "says", "verdict"),
    [
        (
            np.r_[np.c_[cloud(900)[:, [0, 1, 0]], np.full(900, 3.0)], [[1e6, 0, 1e6, 3], [0, -1e6, 0, 3]]],
            "follows from the others",
            "degenerate",
        ),
    ],
    ids=["equal and constant columns with outliers"],
)
def test_unusual_tables(
    x: np.ndarray, says: str, verdict: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, summary = run(tmp_path, x)
    assert says in " ".join(capsys.readouterr().err.split())
    assert verdict in (None, summary["verdict"])
    found = rows_of(out, tmp_path / "x.npz", tmp_path / "s.csv")
    assert np.isfinite(found["log_density"]).all()
    if verdict:
        assert summary["verdict"] != "healthy"
