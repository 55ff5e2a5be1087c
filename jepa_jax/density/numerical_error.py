"""Numerical error of the score: the effect of the precision of the model's arithmetic, in nats."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.extend.core import Jaxpr

from jepa_jax.density.batches import platform_of, score_batches
from jepa_jax.density.jacobian import Precision
from jepa_jax.density.score import EPS, evaluate
from jepa_jax.memory import inner_jaxprs


def arithmetic_error(
    f: Callable[[Any], Array],
    xs: Any,
    eps: float = EPS,
    *,
    precision: Precision = "float32",
    null_directions: int | None = None,
    **options: Any,
) -> np.ndarray:
    """Measure the distance of each score from the score of the same encoder and samples in float64 throughout.

    Forward pass, Jacobian and embedding are computed twice: as `score_batches` does with this precision, and with the
    arrays of f and the sample in float64, to which they convert exactly. The singular values come from the same method
    both times. The errors of a few samples are representative of the others: this is a check beside the scores, not for
    all samples.

    Args:
      f: An encoder whose weights can be converted: an `Encoder`, a `jax.tree_util.Partial` of a function and its
        arrays, or another callable pytree. **An encoder that converts to a fixed precision inside is rejected**: in
        float64 it would make the same error again, and the difference would not show it.
      xs: Samples [N, ...], or a pytree of such arrays, as they are scored: in float32 unless they are JAX arrays of
        higher precision.
      eps: As in `jepa_score`.
      precision: Precision of the score whose error is measured, as in `jacobian`.
      null_directions: As in `jepa_score`.
      **options: As in `score_batches`.

    Returns:
      |score - score in float64| [N] as float64, in nats; NaN where either score is NaN.

    Raises:
      ValueError: If f is a plain function or has a fixed precision, the device has no float64, or as in
        `score_batches`.
    """
    platform = platform_of(options.get("mesh"))
    if platform == "tpu":
        raise ValueError("the error is measured against float64, which a TPU only imitates; measure it on CPU or GPU")
    leaves = jax.tree.leaves(f)
    if len(leaves) == 1 and leaves[0] is f:
        raise ValueError(
            "a plain function holds its arrays where they cannot be converted to float64; "
            "pass an Encoder, or jax.tree_util.Partial(function, arrays)"
        )
    if null_directions is not None:
        f = _WithNullDirections(f, null_directions)
    xs = jax.tree.map(jnp.asarray, xs)  # round as the scorer does
    score = _scores(f, xs, eps, {**options, "precision": precision})
    # Models may contain float32 constants, which JAX's standard promotion converts to float64 exactly.
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        exact_f, exact_xs = jax.tree.map(_to_float64, (f, xs))
        _refuse_own_precision(exact_f, jax.tree.map(lambda a: a[0], exact_xs), options, platform)
        exact = _scores(exact_f, exact_xs, eps, {**options, "precision": "float32"})  # the input's: float64
    return np.abs(score - exact)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class _WithNullDirections:
    """An encoder with another number of null directions."""

    f: Any
    null_directions: int = field(metadata={"static": True})

    @property
    def carries_weights(self) -> bool:
        return getattr(self.f, "carries_weights", False)

    def __call__(self, x: Any) -> Array:
        return self.f(x)

    def __getattr__(self, name: str) -> Any:
        if name != "jacobian_factor":  # an encoder may lack this attribute
            raise AttributeError(name)
        return self.f.jacobian_factor


def _scores(f: Any, xs: Any, eps: float, options: dict[str, Any]) -> np.ndarray:
    batches = score_batches(f, xs, eps, values=False, **options)
    return np.concatenate([np.asarray(batch.score, np.float64) for batch in batches])


def _to_float64(a: Any) -> Any:
    if not hasattr(a, "dtype"):  # leaf of a module that is no array
        return a
    return jnp.asarray(a).astype(jnp.float64) if jnp.issubdtype(jnp.result_type(a), jnp.floating) else a


def _refuse_own_precision(f: Any, x: Any, options: dict[str, Any], platform: str) -> None:
    """Raise ValueError if any step from a float64 sample to its singular values is narrower than float64."""
    kept = {name: options[name] for name in ("mode", "method") if name in options}
    jaxpr = jax.make_jaxpr(lambda f, x: evaluate(f, x, values=False, platform=platform, **kept))(f, x)
    for name in _narrowings(jaxpr.jaxpr):
        raise ValueError(
            f"the encoder computes in {name} even when it is given float64, so its error cannot be measured; "
            "let it compute in the dtype of its arrays and its input"
        )


def _narrowings(jaxpr: Jaxpr) -> Iterator[str]:
    """Yield the floating-point dtypes, other than float64, that float64 numbers are converted to."""
    for eqn in jaxpr.eqns:
        if inner := inner_jaxprs(eqn.params):
            for each in inner:
                yield from _narrowings(each)
        elif any(_dtype(v) == jnp.float64 for v in eqn.invars):
            made = (_dtype(v) for v in eqn.outvars)
            yield from (str(d) for d in made if d is not None and d != jnp.float64 and jnp.issubdtype(d, jnp.floating))


def _dtype(variable: Any) -> Any:
    return getattr(variable.aval, "dtype", None)
