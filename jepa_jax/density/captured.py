"""Functions whose arrays are known, so that a scorer that is compiled once takes them as arguments.

The scorer of a closure is traced again in every call (see `program`), which takes longer than scoring a small probe
set. A captured function is traced by itself, on one sample, and the scorer is only called.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
from jax import Array
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from jepa_jax.density.program import Trace, content, has_rules, key_of


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Captured:
    """Function of one sample, whose arrays are leaves.

    Attributes:
      consts: Arrays that the function reads.
      program: What it computes from them; equal for functions that compute the same.
      null_directions: As that of the function.
    """

    consts: list[Any]
    program: Trace = field(metadata={"static": True})
    null_directions: int = field(default=0, metadata={"static": True})
    carries_weights: ClassVar[bool] = True

    def __call__(self, x: Any) -> Array:
        """Return the embedding [K] of one sample."""
        (z,) = jaxpr_as_fun(ClosedJaxpr(self.program.jaxpr, self.consts))(*jax.tree.leaves(x))
        return z

    def known_output(self, x: Any) -> jax.ShapeDtypeStruct | None:
        """Return the shape and dtype of the embedding without a trace, if x is like the sample of the capture."""
        avals: list[Any] = [v.aval for v in (*self.program.jaxpr.invars, *self.program.jaxpr.outvars)]
        *inputs, output = [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in avals]
        same = inputs == [jax.ShapeDtypeStruct(a.shape, a.dtype) for a in jax.tree.leaves(x)]
        return output if same else None


def captured(f: Callable[[Any], Array], x: Array) -> Callable[[Any], Array]:
    """Return a function with its present arrays as leaves; or f itself, if it can only be traced as a whole.

    Args:
      f: Function of one sample, which may read arrays that are not its arguments.
      x: One sample.
    """
    if getattr(f, "carries_weights", False):
        return f
    try:
        # New functions, because JAX remembers the traces of those that it knows.
        closed = jax.make_jaxpr(lambda x: f(x))(x)
        rules = _rules(closed, x) if has_rules(closed.jaxpr) else ()
    except Exception:  # any library's; the scorer explains it, or differentiates in reverse only
        return f
    if len(closed.out_avals) != 1:
        return f
    program = Trace((key_of(closed.jaxpr), rules), closed.jaxpr)
    return Captured(closed.consts, program, getattr(f, "null_directions", 0))


def _rules(closed: ClosedJaxpr, x: Array) -> Hashable:
    """Return what derivatives compute: rules for them are part of that, and so are the arrays that they alone read."""
    differentiated = jax.make_jaxpr(
        lambda consts, x: jax.jvp(lambda x: jaxpr_as_fun(ClosedJaxpr(closed.jaxpr, consts))(x), (x,), (x,))
    )(closed.consts, x)
    return key_of(differentiated.jaxpr), tuple(content(c) for c in differentiated.consts)
