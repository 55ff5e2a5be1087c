"""Arithmetic of the matrix products in a traced program."""

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp

from jepa_jax.memory import inner_jaxprs

# Products of factors in a narrower format that make up one product of float32 factors, by the platform and the
# precision that JAX asks for. Its default is the fast one.
PASSES = {
    "tpu": {"DEFAULT": ("bfloat16", 1), "HIGH": ("bfloat16", 3), "HIGHEST": ("bfloat16", 6)},
    "gpu": {"DEFAULT": ("tf32", 1), "HIGH": ("tf32", 1), "HIGHEST": ("float32", 1)},
}
TPU_FLOAT64 = ("bfloat16", 18)  # a pair of float32 each: three products at least, of six passes


def matmul_flops(jaxpr: Any) -> int:
    """Return the products and sums of every matrix product in a program.

    A loop of known length counts as many times as it runs. The loop over steps has no known length and counts once.
    """
    return sum(_flops(equation) * times for equation, times in _products(jaxpr))


def matmul_work(jaxpr: Any, platform: str) -> dict[str, int]:
    """Return the FLOPs of `matmul_flops` as a matrix unit does them: by the format of its factors, in all passes.

    Args:
      jaxpr: Program.
      platform: Platform that it is compiled for: `cpu`, `gpu` or `tpu`.
    """
    work: Counter[str] = Counter()
    for equation, times in _products(jaxpr):
        name, passes = _format(equation, platform)
        work[name] += _flops(equation) * times * passes
    return dict(work)


def equations(jaxpr: Any, times: int = 1) -> Iterator[tuple[Any, int]]:
    """Yield every equation of a program and of the functions inside it, with the number of times that it runs."""
    for equation in jaxpr.eqns:
        yield equation, times
        inside = times * (equation.params["length"] if equation.primitive.name == "scan" else 1)
        for inner in inner_jaxprs(equation.params):
            yield from equations(inner, inside)


def _products(jaxpr: Any) -> Iterator[tuple[Any, int]]:
    return ((e, times) for e, times in equations(jaxpr) if e.primitive.name == "dot_general")


def _flops(equation: Any) -> int:
    (contracted, _), _ = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    return 2 * math.prod(equation.outvars[0].aval.shape) * math.prod(left[i] for i in contracted)


def _format(equation: Any, platform: str) -> tuple[str, int]:
    """Return the format of the factors that a matrix unit multiplies, and the number of passes."""
    dtype, precision = equation.invars[0].aval.dtype, equation.params["precision"]
    if dtype == jnp.float64 and platform == "tpu":
        return TPU_FLOAT64
    if dtype != jnp.float32 or platform == "cpu":
        return str(dtype), 1
    name = getattr(precision[0] if isinstance(precision, tuple) else precision, "name", "DEFAULT")
    if name in PASSES[platform]:
        return PASSES[platform][name]
    factors, _, passes = name.partition("_F32_X")  # such as BF16_BF16_F32_X3
    narrow = {"BF16": "bfloat16", "TF32": "tf32"}
    return narrow.get(factors.partition("_")[0], "float32"), int(passes or 1)
