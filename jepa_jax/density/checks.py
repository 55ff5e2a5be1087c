"""Checks of functions and samples, whose messages say what to pass instead."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Name of an exception -> its cause and what to do. By name, because the libraries that raise them may be absent.
MISTAKES = {
    "CallCompactUnboundModuleError": "a Linen module has no weights of its own; pass module.bind(variables), or "
    "jax.tree_util.Partial(module.apply, variables)",
    "ScopeParamNotFoundError": "a Linen module lacks weights; pass all of its variables",
    "TraceContextError": "the module changes its own state when it is called, as batch normalisation and dropout do in "
    "training; call module.eval() first",
    "TracerArrayConversionError": "it uses NumPy, which cannot be differentiated; use jax.numpy",
    "ModifyScopeVariableError": "the module changes its own state when it is called, as batch normalisation does in "
    "training; use its running averages",
}


def check_arrays(xs: Any) -> None:
    """Check that samples are arrays of floating-point numbers.

    Raises:
      TypeError: If they are something else, such as lists of numbers, paths or pictures.
      ValueError: If they are integers.
    """
    for leaf in jax.tree.leaves(xs):
        if isinstance(leaf, str | os.PathLike) or hasattr(leaf, "getbands"):  # a path or a Pillow image
            raise TypeError(
                f"a sample is a {type(leaf).__name__}, not an array; convert pictures with "
                "encoder.preprocess(PIL.Image.open(path)), and stack them with numpy.stack"
            )
        if isinstance(leaf, int | float | complex):
            raise TypeError("samples are numbers in a list, not an array; pass numpy.asarray(xs, numpy.float32)")
        if hasattr(leaf, "dtype"):  # rows that are read on demand have none
            check_floating(leaf)


def check_floating(x: Any) -> None:
    """Check that an array has derivatives.

    Raises:
      ValueError: If it does not hold floating-point numbers.
    """
    if not jnp.issubdtype(jnp.result_type(x), jnp.floating):
        raise ValueError(
            f"a Jacobian needs floating-point input, not {jnp.result_type(x)}; convert it, such as "
            "xs.astype(numpy.float32) / 255 for pictures, or encoder.preprocess(picture)"
        )


def output_of(f: Callable[[Any], Any], x: Any) -> Any:
    """Return the shape and dtype of the output of a function of one sample.

    Args:
      f: Function.
      x: One sample, or its `jax.ShapeDtypeStruct`.

    Raises:
      ValueError: If it cannot be evaluated; the message says what to pass instead, if that is known.
    """
    if (known := getattr(f, "known_output", None)) and (out := known(x)) is not None:
        return out
    try:
        return jax.eval_shape(
            lambda x: f(x), x
        )  # a new function, because JAX remembers the shapes of one that it knows
    except Exception as error:  # any library's
        if getattr(f, "carries_weights", False):  # an encoder, whose own message is better
            raise
        raise ValueError(_explanation(error, f, x)) from error


def _explanation(error: Exception, f: Callable[[Any], Any], x: Any) -> str:
    for cause in (error, error.__cause__):
        if type(cause).__name__ in MISTAKES:
            return f"the function cannot be evaluated: {MISTAKES[type(cause).__name__]}"
    shape = jax.tree.map(jnp.shape, x)
    if _takes_batches(f, x):
        return (
            f"the function does not take one sample of shape {shape}, but a batch of one; pass lambda x: f(x[None])[0]"
        )
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return (
        f"the function cannot be evaluated on one sample, of shape {shape}: {line}; if that is not the shape of a "
        "sample, note that the first axis of xs numbers the samples"
    )


def _takes_batches(f: Callable[[Any], Any], x: Any) -> bool:
    """Return whether a function maps a batch of one sample to a batch of one vector."""
    try:
        out = jax.eval_shape(lambda x: f(jax.tree.map(lambda a: a[None], x)), x)
    except Exception:
        return False
    return np.ndim(out) == 2 and out.shape[0] == 1
