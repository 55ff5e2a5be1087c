"""The tables of the benchmarks of unseen worlds, terms, planted failures and predicted scores."""

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import amortised, planted, terms
from jepa_jax.encoder import Encoder


def test_the_first_monitor_beyond_its_threshold_is_named() -> None:
    values = {"spread": [1, 1, 0.01], "effective rank": [2, 2, 2], "folded": [0, 0.3, 0.3]}
    values |= {"k-NN agreement": [0.1, 0.9, 0.9], "nats above KDE": [float("nan")] * 3}
    plant = {"steps": [0, 5, 10], "verdicts": ["healthy", "folding", "collapsed"], "spearman": 0.5, "monitors": values}
    row = planted.table({"x": plant}).splitlines()[-1]
    assert row == "| x | 0.500 | `collapsed` | folded | step 10 | 2.00 | step 5 | 0.90 | - |"


def test_a_failure_that_took_may_not_be_called_healthy() -> None:
    healthy, caught = {"verdicts": ["healthy"]}, {"verdicts": ["healthy", "disagrees"]}
    found = {"a": healthy | {"spearman": 0.2}, "b": healthy | {"spearman": 0.95}, "c": caught | {"spearman": 0.2}}
    found |= {"d": healthy | {"spearman": float("nan")}, "none planted: x": healthy | {"spearman": 0.2}}
    assert planted.missed(found) == ["a", "d"]


def test_a_term_is_judged_at_its_best_weight() -> None:
    cell = {"spearman": 0.5, "kl": 1.0, "slope": 0.5, "spearman_measured_law": 0.6, "seconds": 3.0}
    cells = {f"sigreg x{w:g} seed 0": cell | {"spearman": s} for w, s in ((0.1, 0.2), (1.0, 0.4), (10.0, 0.3))}
    assert terms.best_weight("sigreg", cells) == 1
    assert "| `sigreg` | 0.01 | 0.400 ± 0.000 |" in terms.text(cells)


def test_predicted_scores_are_judged_on_the_others() -> None:
    rng = np.random.default_rng(0)
    weights = [jnp.asarray(rng.standard_normal((12, 12)), jnp.float32) for _ in range(2)]
    encoder = Encoder(weights, lambda w, x: jnp.tanh(jnp.tanh(x @ w[0]) @ w[1] / 4), (12,), 12)
    xs = rng.standard_normal((200, 12)).astype(np.float32)
    found = amortised.rows(amortised.Network(encoder, xs), amortised.Arguments(pilot=150))
    assert [(row["directions"], row["judged"]) for row in found] == [(p, 50) for p in amortised.DIRECTIONS]
    assert found[0]["products_saved"] == pytest.approx(amortised.MANY / 150)
    assert found[2]["products_saved"] == pytest.approx(12 * amortised.MANY / (12 * 150 + 8 * amortised.MANY))
    assert found[2]["true_error"] < found[0]["true_error"] < 1.2 * found[0]["score_deviation"]
    assert "| 8 | 1.5 |" in amortised.table(found)
    assert amortised.off({"error": 1.0, "true_error": 1.2})
    assert not amortised.off({"error": 1.0, "true_error": 0.9})
