"""Matrix products of float32 numbers on the matrix units of a GPU, which multiply narrower numbers.

A float32 number is the sum of three bfloat16 numbers, or of two numbers of 11 bits up to its last two bits, and a
product of two sums is the sum of the products of their parts. Of these, the ones below the precision asked for are left
out. XLA offers the same by name (`BF16_BF16_F32_X3`), but on a GPU with kernels that reach a third of the rate of the
vendor's (measured on an H200, LOG.md). Here the parts are laid side by side along the sum, so that one product of
narrow numbers, three or six times as long, computes and adds all of them.

The parts of 11 bits, those of TF32, are kept in float16, which a GPU multiplies twice as fast as TF32: each factor is
multiplied by a power of two that brings its largest number near the largest of float16. Numbers down to 2^-18 of the
largest keep both parts; smaller ones are off by at most 2^-40 of the largest.
"""

import jax
import jax.numpy as jnp
from jax import Array

# By JAX's name of the arithmetic: bits of a part's fraction, its dtype, and which parts of the first and second factor
# are multiplied, the largest first.
SPLITS = {
    "BF16_BF16_F32_X3": (7, jnp.bfloat16, ((0, 0), (0, 1), (1, 0))),
    "BF16_BF16_F32_X6": (7, jnp.bfloat16, ((0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0))),
    "TF32_TF32_F32_X3": (10, jnp.float16, ((0, 0), (0, 1), (1, 0))),
}
FLOAT16_EXPONENT = 15  # numbers below 2^15 are far enough from the largest of float16


def product(spec: str, a: Array, b: Array, platform: str, largest: Array | None = None) -> Array:
    """Return `jnp.einsum(spec, a, b)` in the precision of `jax.default_matmul_precision`.

    Args:
      spec: Two factors and their product, such as `nkd,de->nke`. An axis of both that the product lacks is summed over.
      a: First factor.
      b: Second factor.
      platform: Platform for which the program is compiled: `cpu`, `gpu` or `tpu`.
      largest: Upper bound of the magnitudes in a, if it is known without reading a; within 2^9 of the largest.
    """
    precision: str | None = jax.config.jax_default_matmul_precision  # pyright: ignore[reportAttributeAccessIssue]
    split = SPLITS.get(precision or "")
    if platform != "gpu" or split is None or a.dtype != jnp.float32:
        return jnp.einsum(spec, a, b)
    bits, dtype, pairs = split
    factors, _, out = spec.partition("->")
    left, right = factors.split(",")
    summed = next(axis for axis in left if axis in right and axis not in out)
    scale = None
    if dtype == jnp.float16:
        scales = [_scale(jnp.max(jnp.abs(a)) if largest is None else largest), _scale(jnp.max(jnp.abs(b)))]
        a, b = a * scales[0], b * scales[1]
        scale = 1 / scales[0] / scales[1]
    parts = max(max(pair) for pair in pairs) + 1
    first, second = _parts(a, parts, bits, dtype), _parts(b, parts, bits, dtype)
    long = (
        jnp.concatenate([first[i] for i, _ in pairs], axis=left.index(summed)),
        jnp.concatenate([second[j] for _, j in pairs], axis=right.index(summed)),
    )
    found = narrow_product(spec, *long)
    return found if scale is None else found * scale


def narrow_product(spec: str, a: Array, b: Array) -> Array:
    """Return the product of factors that a matrix unit takes, added in float32."""
    return jnp.einsum(spec, a, b, precision="default", preferred_element_type=jnp.float32)


def _scale(largest: Array) -> Array:
    """Return the power of two that brings a number close below 2^FLOAT16_EXPONENT; one of float32 for any number."""
    exponent = jnp.clip(jnp.frexp(largest)[1], -100, 100)
    # Without the barrier the compiler computes this again for every number that it multiplies.
    return jax.lax.optimization_barrier(jnp.ldexp(jnp.float32(1), FLOAT16_EXPONENT - exponent))


def _parts(a: Array, count: int, bits: int, dtype: jax.typing.DTypeLike) -> list[Array]:
    """Return numbers with so many bits of fraction whose sum is a, the largest first."""
    found = []
    for _ in range(count):
        # The compiler may omit a conversion to a narrow type and back, but not this operation.
        part = jax.lax.reduce_precision(a, exponent_bits=8, mantissa_bits=bits)
        found.append(part.astype(dtype))
        a = a - part
    return found
