"""The Jacobian of an encoder at one sample."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from jepa_jax.density.checks import check_arrays, output_of
from jepa_jax.memory import CHUNK_BYTES, budget, live_bytes

Mode = Literal["auto", "forward", "reverse"]
Precision = Literal["float32", "tf32", "bf16", "tf32x3", "bf16x3", "bf16x6"]

# Names for `jax.default_matmul_precision`; the x3 and x6 forms compute one product from three or six cheaper ones.
MATMUL_PRECISIONS = {
    "float32": "highest",
    "tf32": "TF32_TF32_F32",
    "bf16": "BF16_BF16_F32",
    "tf32x3": "TF32_TF32_F32_X3",
    "bf16x3": "BF16_BF16_F32_X3",
    "bf16x6": "BF16_BF16_F32_X6",
}


def arithmetic(precision: Precision, platform: str) -> AbstractContextManager[None]:
    """Return a context in which the matrix products of traced functions have this precision.

    Args:
      precision: Precision of the products; `float32` means the precision of the input, so float64 stays float64.
      platform: Platform that the program is compiled for: `cpu`, `gpu` or `tpu`.

    Raises:
      ValueError: If the name is unknown, or the platform does not compute in this precision.
    """
    if precision not in MATMUL_PRECISIONS:
        raise ValueError(f"precision is {precision!r}; it must be one of {', '.join(MATMUL_PRECISIONS)}")
    if precision != "float32" and platform == "cpu":
        raise ValueError(f"precision {precision} is for GPU and TPU; this CPU computes in float32")
    return jax.default_matmul_precision(MATMUL_PRECISIONS[precision])


def jacobian(
    f: Callable[[Any], Array],
    x: Any,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    precision: Precision = "float32",
    tangent: Array | None = None,
    platform: str | None = None,
    memory: int | None = None,
) -> Array:
    """Compute J = df/dx at one sample as a matrix, or J T for some directions T.

    Forward mode costs D Jacobian-vector products, reverse mode K vector-Jacobian products; `auto` chooses the mode with
    fewer products. The forward pass and its residuals for the derivative are computed once, whatever the chunk.

    Args:
      f: Function of one sample (D numbers in total) that returns an embedding [K]. **A function that couples samples,
        such as batch normalisation in training mode, has no per-sample Jacobian.**
      x: One sample: an array of any shape, or a pytree of arrays.
      mode: `forward`, `reverse`, or `auto`.
      chunk: Number of products computed at once, which bounds the memory of the activations; None uses as many as fit
        (`default_chunk`).
      precision: Precision of the matrix products: `float32`; on GPU and TPU also `tf32`, `bf16`, their three-pass forms
        `tf32x3` and `bf16x3`, and `bf16x6`, whose errors are those of float32: each factor is the sum of three bfloat16
        numbers, which together have its 24 bits. **Any other changes the score**; `arithmetic_error` measures by how
        much.
      tangent: Directions T [D, d]; then d products give J T, and `mode` is ignored.
      platform: Platform that the program is compiled for: `cpu`, `gpu` or `tpu`. None uses the platform of the default
        backend, which is wrong inside a function that is compiled for another one.
      memory: Bytes of memory of the device that the program is compiled for; None asks the devices of this process.

    Returns:
      The Jacobian [K, D] or the product [K, d], in the dtype of f(x). Row k is the gradient of embedding coordinate k
      with respect to the flat x, in the order of `jax.flatten_util.ravel_pytree` for a pytree.

    Raises:
      TypeError: If x is not an array.
      ValueError: If f does not return a vector, x is not floating point, the tangent has another size, or an argument
        is unknown.
    """
    flat, v, out = flatten(f, x)
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")
    if tangent is not None and (tangent.ndim != 2 or tangent.shape[0] != v.size):
        raise ValueError(f"tangent has shape {list(tangent.shape)}; for this sample it must be [{v.size}, d]")
    mode = "forward" if tangent is not None else resolve_mode(mode, v.size, out.size)
    platform = platform or jax.default_backend()
    room = budget(CHUNK_BYTES, platform, memory)
    with arithmetic(precision, platform):
        if mode == "forward":
            _, push = jax.linearize(flat, v)
            basis = jnp.eye(v.size, dtype=v.dtype) if tangent is None else tangent.T.astype(v.dtype)
            return _chunked(push, basis, chunk, room).T
        _, pull = jax.vjp(flat, v)
        return _chunked(lambda row: pull(row)[0], jnp.eye(out.size, dtype=out.dtype), chunk, room)


def flatten(f: Callable[[Any], Array], x: Any) -> tuple[Callable[[Array], Array], Array, jax.ShapeDtypeStruct]:
    """Return f as a function of one vector, that vector, and the shape of f(x).

    Raises:
      ValueError: As in `jacobian`.
    """
    check_arrays(x)
    v, unravel = ravel_pytree(x)

    def flat(v: Array) -> Array:
        return f(unravel(v))

    out = output_of(f, x)
    if getattr(out, "ndim", None) != 1:
        shapes, given = jax.tree.map(jnp.shape, out), jax.tree.map(jnp.shape, x)
        advice = "pass one sample, not a batch (for a batch, score_samples)"
        raise ValueError(
            f"the encoder must return one vector per sample, not {shapes} for an input of shape {given}; "
            f"{advice if getattr(out, 'ndim', 0) == 2 else 'return one array [K]'}"
        )
    return flat, v, out


def resolve_mode(mode: Mode, size: int, dim: int) -> Literal["forward", "reverse"]:
    """Return the mode that `auto` selects for D = size and K = dim."""
    if mode not in ("auto", "forward", "reverse"):
        raise ValueError(f"mode is {mode!r}; it must be auto, forward or reverse")
    if mode == "auto":
        return "forward" if size <= dim else "reverse"
    return mode


def default_chunk(
    f: Callable[[Any], Array], x: Any, mode: Mode, platform: str, samples: int = 1, memory: int | None = None
) -> int:
    """Return the number of products whose activations stay within the device's memory budget.

    Args:
      f: As in `jacobian`.
      x: One sample, or its `jax.ShapeDtypeStruct`.
      mode: As in `jacobian`.
      platform: Platform that the program is compiled for.
      samples: Number of samples differentiated together by `vmap`.
      memory: As in `jacobian`.
    """
    found: list[int] = []

    def trace(x: Any) -> None:  # traced only for the sizes
        flat, v, out = flatten(f, x)
        if resolve_mode(mode, v.size, out.size) == "forward":
            found.extend((v.size, live_bytes(jax.linearize(flat, v)[1], v)))
        else:
            pull = jax.vjp(flat, v)[1]
            found.extend((out.size, live_bytes(lambda row: pull(row)[0], out)))

    jax.eval_shape(trace, x)
    products, each = found
    return even(products, max(1, budget(CHUNK_BYTES, platform, memory) // max(1, each * samples)))


def even(products: int, most: int) -> int:
    """Return the size, at most `most`, of chunks that are as equal as possible.

    A smaller last chunk would be compiled separately.
    """
    return -(-products // -(-products // min(products, most)))


def _chunked(product: Callable[[Array], Array], basis: Array, chunk: int | None, room: int) -> Array:
    """Apply a linear map to every row of the basis, as many at once as `room` bytes hold; return [rows, ...]."""
    if chunk is None:
        most = max(1, room // max(1, live_bytes(product, basis[0])))
        chunk = even(len(basis), most)
    if chunk >= len(basis):
        return jax.vmap(product)(basis)
    return jax.lax.map(product, basis, batch_size=chunk)
