"""The programs of benchmarks/ahead.py, compiled for a TPU slice and a GPU that are not there: `make ahead`."""

import os
from pathlib import Path

import jax
import pytest

from benchmarks import ahead
from jepa_jax.ahead import Requirements, find_target, open_target
from tests.helpers import ROOT

pytestmark = [pytest.mark.ahead, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Requirements]:
    """Requirements of the programs that the selected tests are about, all of which are compiled first."""
    named = os.environ.get("JEPA_JAX_AHEAD_RESULTS")
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = {params["program"] for params in calls if "program" in params}
    programs = tuple(name for name in ahead.PROGRAMS if name in wanted)
    return ahead.run(ROOT / named if named else Path(tmp_path_factory.mktemp("ahead")), programs=programs)


CASES = [(program, target) for program, about in ahead.PROGRAMS.items() for target in about.targets]


@pytest.mark.parametrize(("program", "target"), CASES)
def test_it_compiles_fits_and_leaves_the_host_alone(program: str, target: str, found: dict[str, Requirements]) -> None:
    each = found[f"{program} on {target}"]  # missing if the compiler rejects it; the table says why
    assert each.fits
    assert not each.heavy_traffic
    assert each.memory["arguments"] > 0
    assert each.seconds is not None
    if program.startswith("train"):
        assert each.callbacks == 0
        assert ("all-reduce" in each.collectives) == (each.devices > 1)
    elif each.devices > 1:
        assert not each.collectives  # samples need nothing of each other


@pytest.mark.parametrize("target", ahead.TARGETS)
def test_the_same_program_comes_out_twice(target: str, found: dict[str, Requirements]) -> None:
    """Otherwise no cache of compiled programs would find one again."""
    jax.clear_caches()
    for program in ("train mixture_2d", "score mixture_8d along a tangent space"):
        again = ahead.PROGRAMS[program].compile(find_target(target), open_target(find_target(target)))
        assert again.digest == found[f"{program} on {target}"].digest
        assert again.memory == found[f"{program} on {target}"].memory
