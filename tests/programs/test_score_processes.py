"""The score program in several processes, and what it keeps between calls."""

import csv
import json
import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

from jepa_jax import compile_cache
from score import __main__ as program
from score import run as run_module
from score import shards
from score.run import work
from score.workers import one_thread_each
from tests.helpers import ROOT, xla_flags
from tests.helpers.scores import unfinished

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`

ROWS = 60
# The program, killed while its third batch is written.
KILLED = """
import os, sys
from score import __main__ as program, shards
append, calls = shards.Shard.append, []
def dies(self, rows):
    calls.append(1)
    if len(calls) == 3:
        os.kill(os.getpid(), 9)
    append(self, rows)
shards.Shard.append = dies
program.main(sys.argv[1:])
"""


def half_of_the_work(a, index, count):
    """What `score.run.work` does, but for one process, which fails."""
    if index == 1:
        raise RuntimeError("out of patience")
    return work(a, index, count)


@pytest.fixture(scope="module")
def run(runs):
    return runs / "normal"


def arguments(run, out, *more):
    return [str(run), "--data", "mixture_2d", "--limit", str(ROWS), "--batch-size", "8", "--out", str(out), *more]


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """What one process writes."""
    out = tmp_path_factory.mktemp("alone") / "s.csv"
    assert program.main(arguments(run, out, "--spectra", str(out.with_suffix(".npz")))) == 0
    return out


def start(*args, **environment):
    """A process of its own, with one device."""
    kept = (
        os.environ | {"XLA_FLAGS": xla_flags(1), "JAX_PLATFORMS": "cpu", "JEPA_JAX_COMPILE_CACHE": "off"} | environment
    )
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, *args], env=kept, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def same_scores(one, other):
    tables = []
    for path in (one, other):
        with path.open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    assert [list(r) for r in tables[0]] == [list(r) for r in tables[1]]
    assert [(r["id"], r["clipped"]) for r in tables[0]] == [(r["id"], r["clipped"]) for r in tables[1]]
    for name in ("score", "log_density"):
        values = [np.array([float(r[name]) for r in rows]) for rows in tables]
        np.testing.assert_allclose(*values, atol=2e-5)


def test_workers_score_as_one_process_does(run, alone, tmp_path):
    out = tmp_path / "s.csv"
    with start("-m", "score", *arguments(run, out, "--workers", "2", "--spectra", str(tmp_path / "s.npz"))) as process:
        output, errors = process.communicate()
    assert (process.returncode, "failed" in errors) == (0, False)
    assert f"{ROWS} samples" in output
    same_scores(out, alone)
    assert json.loads(out.with_suffix(".json").read_text())["options"]["workers"] == 2
    assert not unfinished(tmp_path)


def test_rows_of_a_worker_that_fails_are_scored_anyway(run, alone, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "work", half_of_the_work)
    out = tmp_path / "s.csv"
    spectra = str(tmp_path / "s.npz")
    assert program.main(arguments(run, out, "--devices", "1", "--workers", "2", "--spectra", spectra)) == 0
    assert "warning: a process failed (out of patience); this one goes on" in capsys.readouterr().err
    same_scores(out, alone)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--processes", "2", "--process", "0"], "--workers and --processes are two ways to divide the samples"),
        (["--distributed"], "--workers and --distributed are two ways to divide the samples"),
        ([], "have one device each; take --devices 1"),
        (["--devices", "1", "--law", "kde"], "measure no law of the embeddings; take --law assumed"),
        (["--workers", "0"], "--workers is 0; it must be positive"),
    ],
)
def test_workers_are_refused_where_they_cannot_be(run, tmp_path, capsys, options, error):
    assert program.main(arguments(run, tmp_path / "s.csv", "--workers", "2", *options)) == 2
    assert error in capsys.readouterr().err


def test_a_process_that_starts_meanwhile_has_one_thread(monkeypatch):
    """OpenBLAS counts the cores when it is loaded, before a worker is tied to one of them."""
    monkeypatch.setenv("NPROC", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    count = "import numpy, threadpoolctl; print(*(each['num_threads'] for each in threadpoolctl.threadpool_info()))"
    with one_thread_each():
        found = subprocess.run([sys.executable, "-c", count], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) == {"1"}
    assert os.environ["NPROC"] == "7"
    assert "OPENBLAS_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_the_last_of_the_processes_writes_the_table(run, alone, tmp_path, capsys, order):
    out = tmp_path / "s.csv"
    spectra = ["--spectra", str(tmp_path / "s.npz")]
    for i in order:
        assert not any(p.name[0] != "." for p in tmp_path.iterdir())  # nothing under a final name before the last
        assert program.main(arguments(run, out, *spectra, "--processes", "3", "--process", str(i))) == 0
        shown = capsys.readouterr().out
        assert (shown.count("\n") == 1 and "rows are done" in shown) == (i != order[-1])
    same_scores(out, alone)
    both = [np.load(p)["singular_values"] for p in (tmp_path / "s.npz", alone.with_suffix(".npz"))]
    np.testing.assert_allclose(*both, rtol=1e-5)
    assert {p.name for p in tmp_path.iterdir() if p.name[0] != "."} == {"s.csv", "s.json", "s.npz", "s.png"}
    assert not unfinished(tmp_path)


def test_all_parts_done_are_only_merged(run, alone, tmp_path, monkeypatch):
    out = tmp_path / "s.csv"
    monkeypatch.setattr(shards.Shards, "_take_lock", lambda self: False)  # as if both died before they merged
    for i in "01":
        assert program.main(arguments(run, out, "--processes", "2", "--process", i)) == 0
    monkeypatch.undo()
    assert not out.exists()
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: pytest.fail("a row was scored again"))
    assert program.main(arguments(run, out)) == 0
    same_scores(out, alone)
    assert json.loads(out.with_suffix(".json").read_text())["seconds_per_sample"] is None


@pytest.mark.slow
def test_a_killed_process_is_made_up_for(run, alone, tmp_path, monkeypatch):
    out = tmp_path / "s.csv"
    assert program.main(arguments(run, out, "--processes", "2", "--process", "0")) == 0
    killed = start("-c", KILLED, *arguments(run, out, "--processes", "2", "--process", "1"))
    killed.communicate()
    assert killed.returncode == -9
    assert len(list(tmp_path.glob(".s.csv.*.done"))) == len(list(tmp_path.glob(".s.csv.*.shard"))) == 1
    append, counted = shards.Shard.append, []
    monkeypatch.setattr(shards.Shard, "append", lambda self, rows: (counted.append(len(rows)), append(self, rows)))
    assert program.main(arguments(run, out)) == 0  # by one process, as the other half is done
    assert sum(counted) == ROWS // 2 - 2 * 8
    same_scores(out, alone)
    assert not unfinished(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("meet", [False, True])
def test_two_processes_at_once(run, alone, tmp_path, meet):
    out = tmp_path / "s.csv"
    with socket.socket() as free:
        free.bind(("localhost", 0))
        where = ["--coordinator", f"localhost:{free.getsockname()[1]}"] if meet else []
    both = [start("-m", "score", *arguments(run, out, "--processes", "2", "--process", i, *where)) for i in ("0", "1")]
    said = [p.communicate(timeout=200) for p in both]
    assert [p.returncode for p in both] == [0, 0], said
    assert sorted("rows are done" in o for o, _ in said) == [False, True]
    same_scores(out, alone)
    assert not unfinished(tmp_path)


@pytest.mark.parametrize("lock", ["dead", "elsewhere"])
def test_a_lock_that_is_left(run, alone, tmp_path, capsys, lock):
    gone = start("-c", "")
    gone.communicate()
    out, held = tmp_path / "s.csv", tmp_path / ".s.csv.lock"
    held.write_text(f"{socket.gethostname() if lock == 'dead' else 'another.host'} {gone.pid}\n")
    assert program.main(arguments(run, out)) == 0
    shown = capsys.readouterr().out
    assert out.exists() == (lock == "dead")
    if lock == "elsewhere":
        assert shown.count("\n") == 1
        assert f"delete {held}" in shown
        held.unlink()
        assert program.main(arguments(run, out)) == 0
    same_scores(out, alone)
    assert not unfinished(tmp_path)


@pytest.fixture
def settings():
    """Settings of the cache, as they were before."""
    names = ("compilation_cache_dir", "persistent_cache_min_compile_time_secs", "persistent_cache_min_entry_size_bytes")
    before = {f"jax_{name}": getattr(jax.config, f"jax_{name}") for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


def test_the_compile_cache(tmp_path, monkeypatch, settings):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(compile_cache.ENVIRONMENT_VARIABLE, "on")
    assert compile_cache.enable() is None  # on CPU
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setenv(compile_cache.ENVIRONMENT_VARIABLE, "off")
    assert compile_cache.enable() is None
    monkeypatch.delenv(compile_cache.ENVIRONMENT_VARIABLE)
    (tmp_path / "file").write_text("")
    assert compile_cache.enable(tmp_path / "file") is None
    assert jax.config.jax_compilation_cache_dir == before
    assert {p.name for p in tmp_path.iterdir()} == {"file"}
    place = compile_cache.enable()
    assert place == tmp_path / "jepa_jax" / "xla" / f"jax-{jax.__version__}"
    assert jax.config.jax_compilation_cache_dir == str(place)


@pytest.mark.parametrize("more", [[], ["--no-compile-cache"]])
def test_the_program_turns_the_compile_cache_on(run, tmp_path, monkeypatch, more):
    called = []
    monkeypatch.setattr(compile_cache, "enable", lambda: called.append(1))
    assert program.main(arguments(run, tmp_path / "s.csv", *more)) == 0
    assert called == ([] if more else [1])
