"""Near-duplicates and doubtful labels: planted ones are found, and few others."""

import numpy as np
import pytest

from jepa_jax.evaluate import label_disagreement, near_duplicates
from jepa_jax.evaluate.curation import CHUNK_QUERIES


def test_planted_copies_are_found() -> None:
    z = np.random.default_rng(0).standard_normal((400, 8)).astype(np.float32)
    copies = [(300, 7), (301, 7), (399, 250)]
    for (copy, original), off in zip(copies, (1e-4, -1e-4, 0), strict=True):
        z[copy] = z[original] + np.float32(off)
    z[20] = np.nan
    found = near_duplicates(z)
    assert [(int(row), int(found.of[row])) for row in np.flatnonzero(found.of >= 0)] == copies
    assert found.distance == pytest.approx(0.1 * found.typical_distance)
    assert not (near_duplicates(100 * z).of - found.of).any()  # in any units


def test_many_copies_of_one_sample() -> None:
    """More than any fixed number of neighbours, and so many that the usual distance is 0."""
    z = np.zeros((40, 3))
    assert near_duplicates(z).of.tolist() == [-1, *[0] * 39]
    assert near_duplicates(np.zeros((1, 3))).of.tolist() == [-1]


def test_blocks_give_what_one_comparison_gives() -> None:
    """All samples are counted, and none is its own neighbour, in a last block of one sample either."""
    rng = np.random.default_rng(0)
    z, label = rng.standard_normal((2 * CHUNK_QUERIES + 1, 16)), rng.integers(0, 3, 2 * CHUNK_QUERIES + 1)
    counts: list[int] = []
    found = label_disagreement(z, label, 4, done=counts.append)
    distance = ((z[:, None] - z[None]) ** 2).sum(-1) + np.diag(np.full(len(z), np.inf))
    near = np.argsort(distance, axis=1)[:, :4]
    np.testing.assert_allclose(found, (label[near] != label[:, None]).mean(1))
    assert counts == [CHUNK_QUERIES, CHUNK_QUERIES, 1]
    typical = near_duplicates(z, done=counts.append).typical_distance
    assert typical == pytest.approx(np.median(np.sqrt(distance.min(1))))
    assert sum(counts) == 2 * len(z)


def test_chance_is_as_stated() -> None:
    """About 0.7 ratio^d of unrelated samples in d dimensions, either of each pair."""
    z = np.random.default_rng(0).uniform(size=(20_000, 2))
    share = (near_duplicates(z).of >= 0).mean()
    assert share == pytest.approx(np.log(2) * 0.1**2 / 2, rel=0.25)


def test_planted_labels_are_found() -> None:
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(3), 50)
    z = rng.standard_normal((150, 4)) + 8 * np.eye(3, 4)[label]
    told = label.copy()
    told[[3, 70]] = 2
    told[10] = -1
    found = label_disagreement(z, told)
    assert found[[3, 70]].tolist() == [1, 1]
    assert np.isnan(found[10])
    assert np.nanmax(np.delete(found, [3, 70])) <= 0.2
    assert label_disagreement(z[:2], [0, 1]).tolist() == [1, 1]
    assert np.isnan(label_disagreement(z[:1], [0])).all()
