"""The tables of the benchmarks of unseen worlds, terms and planted failures."""

from benchmarks import planted, terms


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
