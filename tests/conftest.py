"""Strict settings for every test. Set before jax is imported: it reads XLA_FLAGS once."""

import os

from tests.helpers import shared_folder, xla_flags

os.environ["XLA_FLAGS"] = xla_flags(4)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA's threads on CPU: with two, four devices that wait for each other leave none to work.
os.environ["NPROC"] = "16"
os.environ["JEPA_JAX_COMPILE_CACHE"] = "off"
os.environ["MPLBACKEND"] = "Agg"
# For every compiled program it loads, XLA logs two errors about the processor, for no reason (jax-ml/jax#38445).
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import gc
from collections.abc import Iterator

import jax
import pytest

from tests.helpers.runs import TrainedRuns

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("filterwarnings", "error")


@pytest.fixture(autouse=True, scope="session")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled programs of this session, for all its workers: most tests compile what another has compiled before."""
    settings = {
        "jax_compilation_cache_dir": str(shared_folder(tmp_path_factory) / "compiled"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)  # for the processes that tests start


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> TrainedRuns:
    folder = shared_folder(tmp_path_factory) / "runs"
    folder.mkdir(exist_ok=True)
    return TrainedRuns(folder)


@pytest.fixture
def key() -> jax.Array:
    return jax.random.key(0)


@pytest.fixture
def x64() -> Iterator[None]:
    """Double precision. The worlds keep their parameters in float32, so promotion is allowed here."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(autouse=True, scope="module")
def no_orphans() -> Iterator[None]:
    """Orbax leaves files and coroutines behind when a checkpoint cannot be read: collect them where they were made.

    The modules that read checkpoints ignore the warning of it; everywhere else it is an error.
    """
    yield
    gc.collect()


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Forget the compiled programs of a module after it.

    Each keeps a few memory mappings, of which Linux gives a process 65,530; without one the compiler crashes.
    """
    yield
    jax.clear_caches()
