"""Calibration of scores whose factor and constant are known."""

import numpy as np
import pytest
from scipy import stats

from jepa_jax.evaluate import calibrate, wide_proposal

RNG = np.random.default_rng(0)


def test_factor_and_constant_of_a_gaussian() -> None:
    """The score is half of the true log-density, less 3 nats: gamma is 2, and log Z is minus twice the constant."""
    law, proposal = stats.multivariate_normal([0, 0]), stats.multivariate_normal([0, 0], 2.0)
    draws = proposal.rvs(20_000, random_state=RNG)
    score = lambda x: 0.5 * law.logpdf(x) - 3  # noqa: E731
    held_out = law.rvs(4000, random_state=RNG)
    found = calibrate(score(held_out), score(draws), proposal.logpdf(draws))
    assert found.gamma == pytest.approx(2, rel=0.05)
    assert found.log_z == pytest.approx(-6, abs=0.25)
    assert found.nats == pytest.approx(law.logpdf(held_out).mean(), abs=0.02)
    assert 0.4 < found.sample_size < 1


def test_the_proposal_is_normalised_and_wider_than_the_data() -> None:
    known = 0.1 * RNG.standard_normal((500, 2))
    draws, log_density = wide_proposal(known, 4000)
    assert (draws.std(0) > 2 * known.std(0)).all()
    # The mean of any density over the proposal's is 1.
    law = stats.multivariate_normal([0, 0], 0.05)
    assert np.mean(np.exp(law.logpdf(draws) - log_density)) == pytest.approx(1, rel=0.05)


def test_a_small_sample_size_gives_no_constant() -> None:
    law, proposal = stats.multivariate_normal(np.zeros(8)), stats.multivariate_normal(np.zeros(8), 9.0)
    draws, held_out = proposal.rvs(5000, random_state=RNG), law.rvs(2000, random_state=RNG)
    found = calibrate(law.logpdf(held_out), law.logpdf(draws), proposal.logpdf(draws))
    assert found.sample_size < 0.1
    assert np.isnan(found.log_z)
    assert np.isnan(found.nats)


def test_what_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        calibrate([np.nan], [0.0], [0.0])
