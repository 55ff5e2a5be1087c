from collections.abc import Iterator

import jax
import pytest

from tests.helpers.maps import TOLERANCE


@pytest.fixture(params=TOLERANCE)
def dtype(request: pytest.FixtureRequest) -> Iterator[str]:
    """Name of a type of numbers, with double precision switched on where it needs it."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param
