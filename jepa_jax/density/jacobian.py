"""The Jacobian of an encoder at one sample."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from jepa_jax.memory import CHUNK_BYTES, budget, live_bytes

Mode = Literal["auto", "forward", "reverse"]
Precision = Literal["float32", "tf32", "bf16", "tf32x3", "bf16x3"]

# What `jax.default_matmul_precision` calls each; the x3 forms make one product out of three cheaper ones.
ARITHMETIC = {
    "float32": "highest",
    "tf32": "TF32_TF32_F32",
    "bf16": "BF16_BF16_F32",
    "tf32x3": "TF32_TF32_F32_X3",
    "bf16x3": "BF16_BF16_F32_X3",
}


def arithmetic(precision: Precision, platform: str) -> AbstractContextManager[None]:
    """Context in which the matrix products of a function that is traced have this precision.

    Args:
      precision: `float32` is the input's own: float64 stays float64.
      platform: that the program is for, `cpu`, `gpu` or `tpu`.

    Raises:
      ValueError: an unknown name, or one that the platform does not compute in.
    """
    if precision not in ARITHMETIC:
        raise ValueError(f"precision is {precision!r}; it must be one of {', '.join(ARITHMETIC)}")
    if precision != "float32" and platform == "cpu":
        raise ValueError(f"precision {precision} is for GPU and TPU; this CPU computes in float32")
    return jax.default_matmul_precision(ARITHMETIC[precision])


def jacobian(
    f: Callable[[Any], Array],
    x: Any,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    precision: Precision = "float32",
    tangent: Array | None = None,
    platform: str | None = None,
) -> Array:
    """J = df/dx at one sample, as a matrix, or J T for some directions T.

    Forward mode costs D Jacobian-vector products, reverse mode K vector-Jacobian products; `auto` takes the fewer.
    The forward pass and what it leaves for the derivative are computed once, whatever the chunk.

    Args:
      f: one sample (D numbers in all) -> [K]. **A function that couples samples, such as batch normalisation in
        training mode, has no per-sample Jacobian.**
      x: one sample: an array of any shape, or a pytree of arrays.
      mode: `forward`, `reverse`, or `auto`.
      chunk: products at once, which bounds the memory for activations; None takes what fits (`default_chunk`).
      precision: of the matrix products: `float32`; on GPU and TPU also `tf32`, `bf16`, and their three-pass forms
        `tf32x3` and `bf16x3`. **A lower one changes the score**: `arithmetic_error` measures by how much.
      tangent: T [D, d]; then d products give J T, and `mode` is not used.
      platform: that the program is for: `cpu`, `gpu` or `tpu`. None takes the default backend's, which is wrong in a
        function that is compiled for another one.

    Returns:
      [K, D] or [K, d], in the dtype of f(x); row k is the gradient of embedding coordinate k with respect to the flat x
      (the order of a pytree is that of `jax.flatten_util.ravel_pytree`).

    Raises:
      ValueError: f does not return a vector, x is not floating point, a tangent of another size, or an argument is
        unknown.
    """
    flat, v, out = flatten(f, x)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")
    if tangent is not None and (tangent.ndim != 2 or tangent.shape[0] != v.size):
        raise ValueError(f"tangent has shape {list(tangent.shape)}; for this sample it must be [{v.size}, d]")
    mode = "forward" if tangent is not None else resolve_mode(mode, v.size, out.size)
    platform = platform or jax.default_backend()
    with arithmetic(precision, platform):
        if mode == "forward":
            _, push = jax.linearize(flat, v)
            basis = jnp.eye(v.size, dtype=v.dtype) if tangent is None else tangent.T.astype(v.dtype)
            return _chunked(push, basis, chunk, platform).T
        _, pull = jax.vjp(flat, v)
        return _chunked(lambda row: pull(row)[0], jnp.eye(out.size, dtype=out.dtype), chunk, platform)


def flatten(f: Callable[[Any], Array], x: Any) -> tuple[Callable[[Array], Array], Array, jax.ShapeDtypeStruct]:
    """f as a function of one vector, that vector, and the shape of f(x).

    Raises:
      ValueError: as `jacobian`.
    """
    for leaf in jax.tree.leaves(x):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(f"a Jacobian needs floating-point input, not {jnp.result_type(leaf)}")
    v, unravel = ravel_pytree(x)

    def flat(v: Array) -> Array:
        return f(unravel(v))

    out = jax.eval_shape(flat, v)
    if getattr(out, "ndim", None) != 1:
        shapes = jax.tree.map(jnp.shape, out)
        raise ValueError(f"the encoder must return one vector per sample, not {shapes}; it takes one sample, no batch")
    return flat, v, out


def resolve_mode(mode: Mode, size: int, dim: int) -> Literal["forward", "reverse"]:
    """The mode that `auto` means for D = size and K = dim."""
    if mode not in ("auto", "forward", "reverse"):
        raise ValueError(f"mode is {mode!r}; it must be auto, forward or reverse")
    if mode == "auto":
        return "forward" if size <= dim else "reverse"
    return mode


def default_chunk(f: Callable[[Any], Array], x: Any, mode: Mode, platform: str, samples: int = 1) -> int:
    """Products at once whose activations, over so many samples at a time, stay within the device's budget.

    Args:
      f, mode: as in `jacobian`.
      x: one sample, or the `jax.ShapeDtypeStruct` of one.
      platform: that the program is for.
      samples: differentiated together by `vmap`.
    """
    found: list[int] = []

    def trace(x: Any) -> None:  # only for its sizes
        flat, v, out = flatten(f, x)
        if resolve_mode(mode, v.size, out.size) == "forward":
            found.extend((v.size, live_bytes(jax.linearize(flat, v)[1], v)))
        else:
            pull = jax.vjp(flat, v)[1]
            found.extend((out.size, live_bytes(lambda row: pull(row)[0], out)))

    jax.eval_shape(trace, x)
    products, each = found
    return even(products, max(1, budget(CHUNK_BYTES, platform) // max(1, each * samples)))


def even(products: int, most: int) -> int:
    """The size of equal chunks of at most `most`: a smaller last one would be compiled by itself."""
    return -(-products // -(-products // min(products, most)))


def _chunked(product: Callable[[Array], Array], basis: Array, chunk: int | None, platform: str) -> Array:
    """The linear map's value at every row of the basis, [rows, ...]."""
    if chunk is None:
        most = max(1, budget(CHUNK_BYTES, platform) // max(1, live_bytes(product, basis[0])))
        chunk = even(len(basis), most)
    if chunk >= len(basis):
        return jax.vmap(product)(basis)
    return jax.lax.map(product, basis, batch_size=chunk)
