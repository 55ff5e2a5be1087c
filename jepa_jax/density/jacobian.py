"""The Jacobian of an encoder at one sample."""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax import Array

Mode = Literal["auto", "forward", "reverse"]


def jacobian(f: Callable[[Array], Array], x: Array, *, mode: Mode = "auto", chunk: int | None = None) -> Array:
    """J = df/dx at one sample, as a matrix.

    Forward mode costs D Jacobian-vector products, reverse mode K vector-Jacobian products; `auto` takes the fewer.
    With `chunk`, that many products run at once and the rest wait: memory for activations is bounded by it.

    Args:
      f: one sample of any shape (D numbers) -> [K]. **A function that couples samples, such as batch
        normalisation in training mode, has no per-sample Jacobian.**
      x: one sample.
      mode: `forward`, `reverse`, or `auto`.
      chunk: products at once; None runs all at once.

    Returns:
      [K, D], in the dtype of f(x); row k is the gradient of embedding coordinate k with respect to the flat x.

    Raises:
      ValueError: f does not return a vector, x is not floating point, or the mode is unknown.
    """
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"a Jacobian needs floating-point input, not {x.dtype}")
    if mode not in ("auto", "forward", "reverse"):
        raise ValueError(f"mode is {mode!r}; it must be auto, forward or reverse")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk is {chunk}; it must be at least 1")

    def flat(v: Array) -> Array:
        return f(v.reshape(x.shape))

    size = math.prod(x.shape)
    v = x.reshape(size)
    out = jax.eval_shape(flat, v)
    if getattr(out, "ndim", None) != 1:
        raise ValueError(f"the encoder must return one vector per sample, not {jax.tree.map(jnp.shape, out)}")
    dim = out.shape[0]
    if mode == "auto":
        mode = "forward" if size <= dim else "reverse"
    if mode == "forward":
        if chunk is None or chunk >= size:
            return jax.jacfwd(flat)(v)
        _, push = jax.linearize(flat, v)
        return jax.lax.map(push, jnp.eye(size, dtype=v.dtype), batch_size=chunk).T
    if chunk is None or chunk >= dim:
        return jax.jacrev(flat)(v)
    _, pull = jax.vjp(flat, v)
    return jax.lax.map(lambda row: pull(row)[0], jnp.eye(dim, dtype=out.dtype), batch_size=chunk)
