"""Scoring in batches: on a mesh, in the memory at hand, with options that change no number."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jepa_jax import Encoder
from jepa_jax.density import (
    MemoryWarning,
    batches,
    default_batch_size,
    jacobian,
    jepa_score,
    score_batches,
    score_samples,
    singular_values,
)
from jepa_jax.density.jacobian import arithmetic, default_chunk, even
from jepa_jax.memory import available, live_bytes
from jepa_jax.sharding import data_mesh, shard_parameters
from tests.helpers import ROOT
from tests.helpers.maps import apply_bent, prescribed, sample


@pytest.mark.parametrize("model", [1, 2])
def test_a_mesh_changes_nothing(model: int) -> None:
    assert len(jax.devices()) == 4
    mesh = data_mesh(jax.devices(), model)
    assert dict(mesh.shape) == {"data": 4 // model, "model": model}
    f = Partial(apply_bent, jnp.asarray(prescribed(8, 6, np.geomspace(2, 0.1, 6)), jnp.float32))
    xs = sample((6,), count=11)
    spread = shard_parameters(f, mesh) if model > 1 else f
    if model > 1:
        assert {s.data.shape for s in jax.tree.leaves(spread)[0].addressable_shards} == {(4, 6)}
    for batch_size in (None, 4, 5):
        together = score_samples(spread, xs, mesh=mesh, batch_size=batch_size)
        np.testing.assert_allclose(together, score_samples(f, xs), atol=2e-5)


def test_devices_that_share_threads_do_not_stand_still() -> None:
    """In a process of its own, because LAPACK's batches on two devices of two threads wait for each other for ever."""
    code = """
import jax, jax.numpy as jnp
from jepa_jax.density import score_samples
from jepa_jax.sharding import data_mesh
xs = jax.random.normal(jax.random.key(0), (32_000, 2))
layers = [0.3 * jax.random.normal(jax.random.key(1), shape) for shape in ((2, 128), (128, 128), (128, 16))]

def f(x):
    for layer in layers[:-1]:
        x = jax.nn.gelu(x @ layer)
    return x @ layers[-1]

scores = score_samples(f, xs, mesh=data_mesh(jax.devices(), 1))
assert len(jax.devices()) > 1 and jnp.isfinite(scores).all()
"""
    # Code and numbers of threads as users have them.
    environ = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": ""}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, cwd=ROOT, env=environ)


def test_mesh_needs_its_axis() -> None:
    mesh = jax.make_mesh((4,), ("rows",), devices=jax.devices())
    with pytest.raises(ValueError, match="must be called data"):
        score_samples(Partial(apply_bent, jnp.eye(3)), jnp.ones((2, 3)), mesh=mesh)


def test_live_bytes_counts_what_is_alive() -> None:
    def f(x: jax.Array) -> jax.Array:
        big = jnp.broadcast_to(x[:, None], (1000, 50))  # 200 kB, beside 4 kB
        small = big.sum(axis=1)
        return jax.lax.scan(lambda c, _: (jnp.sin(c), None), small, None, length=5)[0]

    assert 204_000 <= live_bytes(f, jax.ShapeDtypeStruct((1000,), jnp.float32)) <= 212_000


def test_chunk_follows_the_activations_and_is_even() -> None:
    def f(x: jax.Array) -> jax.Array:
        hidden = jnp.tanh(jnp.ones((2_000_000, 1)) @ x[:1])  # 8 MB for each product
        return hidden[:100] * x

    x = jax.ShapeDtypeStruct((100,), jnp.float32)
    chunk = default_chunk(f, x, "reverse", "cpu")
    assert 1 <= chunk < 10
    assert default_chunk(f, x, "reverse", "cpu", samples=100) == 1
    assert default_chunk(lambda x: x, x, "auto", "cpu") == 100
    assert [even(100, most) for most in (100, 1000, 60, 34, 33)] == [100, 100, 50, 34, 25]


def test_what_does_not_fit_is_made_smaller_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(8, 6, np.geomspace(2, 0.1, 6)), jnp.float32))
    xs = sample((6,), count=12)
    plain = score_samples(f, xs)
    monkeypatch.setattr(batches, "available", lambda platform, memory=None: 4 * 8 * 6 * 8 * 4)
    with pytest.warns(MemoryWarning, match="a batch of 12 needs more memory than there is; 2 at once"):
        np.testing.assert_allclose(score_samples(f, xs, batch_size=12), plain, atol=2e-5)
    with pytest.warns(MemoryWarning, match="a chunk of 6 needs more memory than there is; 1 at once"):
        np.testing.assert_allclose(score_samples(f, xs, chunk=6, batch_size=2), plain, atol=2e-5)


def test_available_memory_is_a_sensible_number() -> None:
    free = available("cpu")
    assert free is None or 2**20 < free < 2**50


@pytest.mark.parametrize("precision", ["tf32", "bf16", "tf32x3", "bf16x3", "bf16x6"])
def test_a_cpu_has_one_precision(precision: Any) -> None:
    with pytest.raises(ValueError, match="this CPU computes in float32"):
        jepa_score(lambda x: x, jnp.ones(3), precision=precision)
    with pytest.raises(ValueError, match="half"):
        arithmetic("half", "cpu")  # pyright: ignore[reportArgumentType]


def test_auto_takes_the_fewer_products() -> None:
    def count(f: Callable[[jax.Array], jax.Array], size: int, mode: Any) -> int:
        return len(str(jax.make_jaxpr(lambda x: jacobian(f, x, mode=mode))(jnp.zeros(size))))

    wide, tall = Partial(apply_bent, jnp.ones((2, 9))), Partial(apply_bent, jnp.ones((9, 2)))
    assert count(wide, 9, "auto") == count(wide, 9, "reverse") != count(wide, 9, "forward")
    assert count(tall, 2, "auto") == count(tall, 2, "forward") != count(tall, 2, "reverse")


@pytest.mark.parametrize("batch_size", [None, 1, 3, 10, 100])
@pytest.mark.parametrize("host", [False, True])
def test_score_samples_is_a_loop(batch_size: int | None, host: bool) -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(4, 6, [2, 1, 0.5, 0.2]), jnp.float32))
    xs = sample((2, 3), count=10)
    loop = jnp.stack([jepa_score(f, x) for x in xs])
    scores = score_samples(f, np.asarray(xs) if host else xs, batch_size=batch_size)
    assert scores.shape == (10,)
    np.testing.assert_allclose(scores, loop, atol=2e-5)


def test_score_batches_gives_everything() -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(4, 6, [2, 1, 0.5, 0]), jnp.float32))
    xs = sample((6,), count=10)
    batches = list(score_batches(f, xs, batch_size=4))
    assert [len(b.score) for b in batches] == [4, 4, 2]
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *batches)
    np.testing.assert_allclose(whole.embedding, jax.vmap(f)(xs), atol=1e-6)
    np.testing.assert_allclose(whole.singular_values, [singular_values(f, x) for x in xs], atol=1e-6)
    assert (whole.clipped == 1).all()


@pytest.mark.parametrize("options", [{"mode": "forward"}, {"mode": "reverse", "chunk": 2}, {"chunk": 1}])
def test_how_to_differentiate_changes_nothing(options: dict[str, Any]) -> None:
    f = Partial(apply_bent, jnp.asarray(prescribed(4, 6, [2, 1, 0.5, 0.2]), jnp.float32))
    xs = sample((6,), count=4)
    np.testing.assert_allclose(score_samples(f, xs, **options), score_samples(f, xs), atol=1e-5)


def test_last_batch_and_other_weights_need_no_compilation() -> None:
    traces = 0

    def apply(a: jax.Array, x: jax.Array) -> jax.Array:
        nonlocal traces
        traces += 1
        return jnp.tanh(a @ x)

    def encoder(scale: float) -> Encoder:
        return Encoder(scale * jnp.eye(3), apply, (3,), 3)

    def traced(f: Any, count: int) -> int:
        before = traces
        score_samples(f, sample((3,), count=count), batch_size=4)
        return traces - before

    shape_only = 1  # at most: asking for the embedding's size
    assert traced(encoder(1), 4) > shape_only
    assert traced(encoder(1), 10) <= shape_only
    assert traced(encoder(2), 10) <= shape_only
    other = score_samples(encoder(2), jnp.zeros((2, 3)))
    np.testing.assert_allclose(other, 3 * math.log(2), rtol=1e-5)


def test_encoder_is_a_pytree_and_checks_its_sample() -> None:
    a = jnp.asarray(prescribed(4, 3, [2, 1, 0.5]), jnp.float32)
    encoder = Encoder(a, apply_bent, (3,), 4, "normal", 0)
    assert len(jax.tree.leaves(encoder)) == 1
    xs = sample((3,), count=5)
    np.testing.assert_allclose(score_samples(encoder, xs), score_samples(lambda x: apply_bent(a, x), xs), atol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda e, x: e(x))(encoder, xs[0]), apply_bent(a, xs[0]), rtol=1e-6)
    with pytest.raises(ValueError, match=r"\[3\], not \[5, 3\].*vmap"):
        encoder(xs)


@pytest.mark.parametrize(
    ("f", "x", "options", "match"),
    [
        (lambda x: x, jnp.ones((2, 2)), {}, "one vector"),
        (lambda x: x.sum(), jnp.ones(3), {}, "one vector"),
        (lambda x: (x, x), jnp.ones(3), {}, "one vector"),
        (lambda x: x, jnp.ones(3, jnp.int32), {}, "floating-point input, not int32"),
        (lambda x: x, jnp.ones(3), {"mode": "sideways"}, "sideways"),
        (lambda x: x, jnp.ones(3), {"chunk": 0}, "chunk is 0"),
        (lambda x: x, jnp.ones(3), {"eps": 0.0}, "eps is 0.0"),
        (lambda x: x, jnp.ones(3), {"eps": -1e-6}, "eps is -1e-06"),
        (lambda x: x, jnp.ones(3), {"tangent": jnp.ones((2, 1))}, "tangent has shape"),
        (lambda x: x, jnp.ones(3), {"method": "qr", "null_directions": 1}, "null directions"),
    ],
)
def test_bad_arguments(f: Any, x: jax.Array, options: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        jepa_score(f, x, **options)


def test_no_samples() -> None:
    with pytest.raises(ValueError, match="no samples"):
        score_samples(lambda x: x, jnp.ones((0, 3)))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_batch_size_must_be_positive(batch_size: int) -> None:
    with pytest.raises(ValueError, match="batch_size"):
        score_samples(lambda x: x, jnp.ones((2, 3)), batch_size=batch_size)


def test_default_batch_size_bounds_memory() -> None:
    assert default_batch_size(10, 2, 16, "cpu") == 10
    assert default_batch_size(10**6, 2, 16, "cpu") == 4096
    assert default_batch_size(10**6, 150_528, 768, "cpu") == 1
    size = default_batch_size(10**6, 3072, 128, "cpu")
    assert 1 < size < 4096
    assert size * 3072 * 128 * 4 < 256 * 2**20
