"""Share of a small training loop that the looks of `DensityMonitor` take, after compilation.

    python -m benchmarks.monitor_cost [--steps 1500] [--every 250] [--probes 512] [--everything]

Hardware: any CPU; about ten seconds. An MLP of two hidden layers of 64 units learns the world `moons` by InfoNCE.
"""

import sys
import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax

import jepa_jax
from jepa_jax.cli import parse
from jepa_jax.errors import ConfigError

BATCH = 256
LEAST_PROBES = 8


@dataclass(frozen=True)
class Arguments:
    """Options of the benchmark."""

    steps: int = 1500
    """Training steps after the first look, in which everything is compiled."""
    every: int = 250
    """Steps between looks."""
    probes: int = 512
    """Samples of the probe set."""
    everything: bool = False
    """Whether to give the monitor labels, outliers and noise for LiDAR, too."""


def apply(params: Any, x: jax.Array) -> jax.Array:
    """Return the embedding [16] of one sample [2], on the sphere."""
    for kernel, bias in params[:-1]:
        x = jax.nn.gelu(x @ kernel + bias)
    kernel, bias = params[-1]
    z = x @ kernel + bias
    return z / jnp.linalg.norm(z)


def main(args: list[str]) -> int:
    """Run the benchmark, print the share, and return 0, or 2 if the arguments are wrong."""
    try:
        a = parse(Arguments, args, prog="python -m benchmarks.monitor_cost", description=__doc__ or "")
        if not 1 <= a.every <= a.steps:
            raise ConfigError(f"--every is {a.every}; it must be from 1 to --steps, {a.steps}")
        if a.probes < LEAST_PROBES:
            raise ConfigError(f"--probes is {a.probes}; it must be at least {LEAST_PROBES}")
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _measure(a)
    return 0


def _measure(a: Arguments) -> None:
    """Print each look, and the share of the time that they take."""
    world = jepa_jax.WORLDS["moons"]()
    probe = world.sample(jax.random.key(1), a.probes)[0]
    outliers = jax.random.normal(jax.random.key(2), probe.shape)
    more = {"labels": probe[:, 1] > 0.25, "outliers": {"normal": outliers}, "noise": 0.05} if a.everything else {}
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = ((2, 64), (64, 64), (64, 16))
    params = [(jax.random.normal(k, s) / s[0] ** 0.5, jnp.zeros(s[1])) for k, s in zip(keys, sizes, strict=True)]
    optimizer = optax.adam(3e-3)
    state = optimizer.init(params)

    def loss(params: Any, key: jax.Array) -> jax.Array:
        noise = 0.05 * jax.random.normal(key, (2, BATCH, 2))
        views = world.sample(key, BATCH)[0][None] + noise
        z, w = jax.vmap(jax.vmap(apply, (None, 0)), (None, 0))(params, views)
        return jnp.mean(jax.nn.logsumexp(z @ w.T / 0.2, axis=1)) - jnp.mean(jnp.sum(z * w, axis=1)) / 0.2

    @jax.jit
    def step(params: Any, state: Any, key: jax.Array) -> tuple[Any, Any]:
        updates, state = optimizer.update(jax.grad(loss)(params, key), state)
        return optax.apply_updates(params, updates), state

    monitor = jepa_jax.DensityMonitor(apply, probe, jax.vmap(world.log_density)(probe), **more)
    monitor(params, 0)
    jax.block_until_ready(step(params, state, jax.random.key(0)))
    spent, started = 0.0, time.perf_counter()
    for i in range(1, a.steps + 1):
        params, state = step(params, state, jax.random.key(i))
        if i % a.every == 0:
            jax.block_until_ready(params)
            began = time.perf_counter()
            look = monitor(params, i)
            spent += time.perf_counter() - began
            print(look)
    jax.block_until_ready(params)
    whole, looks = time.perf_counter() - started, len(monitor.history) - 1
    print(f"{looks} looks of {1e3 * spent / looks:.0f} ms in {whole:.1f} s: {spent / whole:.1%} of the time")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
