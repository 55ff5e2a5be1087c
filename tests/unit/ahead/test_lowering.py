"""Every jitted program lowers for TPU and for CUDA; nothing is compiled, so that this needs neither."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import export

from jepa_jax import density, evaluate
from jepa_jax.data import open_source
from jepa_jax.density.score import jepa_score, singular_values
from jepa_jax.encoder import Encoder
from jepa_jax.resolve import resolve
from jepa_jax.training import make_trainer
from train.config_files import find_config

PLATFORMS = ("tpu", "cuda")
CONFIGS = ("mixture_2d", "mixture_2d_triangular", "digits_lejepa", "digits_ijepa", "digits_distill", "speckle_sarjepa")
XS, Z = jax.ShapeDtypeStruct((4, 8), jnp.float32), jax.ShapeDtypeStruct((32, 16), jnp.float32)


def network(x: jax.Array) -> jax.Array:
    return jnp.tanh(x @ jnp.linspace(-1, 1, 8 * 16, dtype=jnp.float32).reshape(8, 16))


def lowered(f: Callable[..., Any], platform: str, *args: Any) -> str:
    """The program of a platform, without whatever only a CPU can call."""
    text = jax.jit(f).trace(*args).lower(lowering_platforms=(platform,)).as_text()
    assert "lapack" not in text
    return text


def trained(name: str) -> tuple[Any, Any]:
    config = find_config(name)[1]
    source = open_source(config.data)
    config = resolve(dataclasses.replace(config, data=dataclasses.replace(config.data, batch_size=8)), source)
    return make_trainer(config, source), source


@pytest.mark.parametrize("name", CONFIGS)
def test_training(name: str) -> None:
    """The loop is exported as well: no callback of the host, and nothing that a later JAX might not know."""
    trainer, source = trained(name)
    state = trainer.state
    exported = export.export(trainer.run, platforms=PLATFORMS)(state, source.arrays, 0, 1)
    assert exported.platforms == PLATFORMS
    encoder: Encoder = jax.eval_shape(trainer.encoder, state)
    if encoder.volume is not None:
        x = jax.ShapeDtypeStruct(source.shape, jnp.float32)
        export.export(jax.jit(lambda e, x: e.log_density(x)), platforms=PLATFORMS)(encoder, x)


SCORES: dict[str, Callable[..., Any]] = {
    **{f"score, {method}": partial(jepa_score, method=method) for method in ("auto", "svd", "gram64")},
    **{f"score, {mode}": partial(jepa_score, mode=mode) for mode in ("forward", "reverse")},
    **{f"score, {precision}": partial(jepa_score, precision=precision) for precision in ("tf32", "bf16x3")},
    "score along a tangent space": partial(jepa_score, tangent=jnp.eye(8, 2)),
    "spectrum": singular_values,
    "sketch": lambda f, x, **how: density.sketch_score(f, x, jnp.eye(4, 16), **how),
}
PRODUCTS: dict[str, Callable[..., Any]] = {
    "forward": partial(density.jacobian, mode="forward"),
    "reverse": partial(density.jacobian, mode="reverse"),
    "norm": lambda f, x, **how: density.log_frobenius(f, x, jax.random.key(0), 4, **how),
    "largest": lambda f, x, **how: density.top_singular_values(f, x, 2, jax.random.key(0), **how),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores(name: str) -> None:
    """On a GPU nothing goes to the host; what a TPU sends there, `make ahead` measures, since that needs its plugin."""
    assert "callback" not in lowered(partial(_batch, SCORES[name], "gpu"), "cuda", XS)


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_products(name: str, platform: str) -> None:
    lowered(partial(_batch, PRODUCTS[name], {"cuda": "gpu"}.get(platform, platform)), platform, XS)


def _batch(program: Callable[..., Any], platform: str, xs: jax.Array) -> Any:
    return jax.vmap(partial(program, network, platform=platform))(xs)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_monitors(platform: str) -> None:
    lowered(partial(evaluate.moments, base="gaussian"), platform, Z)
    lowered(evaluate.fold_fraction, platform, Z, Z)
    lowered(evaluate.lidar, platform, jax.ShapeDtypeStruct((2, *Z.shape), jnp.float32))
