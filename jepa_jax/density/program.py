"""Compiled programs of functions that may have changed since the last call.

A function may read arrays and numbers that are not its arguments: weights in a closure, in a global or in a module. The
compiler's cache knows a function by its identity and would answer with the old ones. Here the function is traced again
in every call, which takes milliseconds; the arrays it reads become arguments, and it is compiled again only if the
trace is another.
"""

import hashlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal, Var, jaxpr_as_fun

# Rules for derivatives that a finished trace no longer uses; JAX makes new objects of them in every trace.
UNUSED_RULES = ("jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "bwd", "fwd")
RULE_PRIMITIVES = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")


@dataclass(frozen=True)
class Trace:
    """Trace that is equal to another one if both compute the same from their arguments."""

    key: Hashable
    jaxpr: Jaxpr = field(compare=False)


def trace(f: Callable[..., Any], *args: Any) -> Callable[..., Any]:
    """Trace a function, and return it as a compiled function of arguments with the shapes of these.

    The trace is final: derivatives of the returned function may ignore custom rules.

    Args:
      f: Function of pytrees of arrays; it may read other arrays, whose values at this call are used.
      *args: Arguments that determine the shapes.
    """
    # A new function, because JAX remembers the traces of one that it knows.
    closed, out = jax.make_jaxpr(lambda *args: f(*args), return_shape=True)(*args)
    program = Trace(key_of(closed.jaxpr), closed.jaxpr)
    tree = jax.tree.structure(out)

    def run(*args: Any) -> Any:
        return jax.tree.unflatten(tree, _run(program, closed.consts, jax.tree.leaves(args)))

    return run


@partial(jax.jit, static_argnums=0)
def _run(program: Trace, consts: list[Any], args: list[Any]) -> list[Any]:
    return jaxpr_as_fun(ClosedJaxpr(program.jaxpr, consts))(*args)


def key_of(jaxpr: Jaxpr) -> Hashable:
    """Return a value that is equal for two traces only if they compute the same."""
    numbers: dict[Var, int] = {}

    def read(atom: Any) -> Hashable:
        if isinstance(atom, Literal):
            return ("literal", atom.aval, *content(atom.val))
        return numbers[atom]

    def bind(variables: Any) -> tuple[Hashable, ...]:
        for v in variables:
            numbers[v] = len(numbers)
        return tuple(v.aval for v in variables)

    inputs = bind([*jaxpr.constvars, *jaxpr.invars])
    equations = tuple(
        (
            e.primitive.name,
            tuple(read(a) for a in e.invars),
            _params(e.primitive.name, e.params),
            bind(e.outvars),
        )
        for e in jaxpr.eqns
    )
    return inputs, equations, tuple(read(a) for a in jaxpr.outvars)


def _params(primitive: str, params: dict[str, Any]) -> Hashable:
    unused = UNUSED_RULES if primitive in RULE_PRIMITIVES else ()
    return tuple((name, _value(params[name])) for name in sorted(params) if name not in unused)


def _value(value: Any) -> Hashable:
    """Return a parameter of an equation as a value that is compared by what it says."""
    if isinstance(value, ClosedJaxpr):
        return key_of(value.jaxpr), tuple(content(c) for c in value.consts)
    if isinstance(value, Jaxpr):
        return key_of(value)
    if isinstance(value, tuple | list):
        return (type(value), *(_value(v) for v in value))
    if isinstance(value, dict):
        return (dict, *((k, _value(v)) for k, v in value.items()))
    if isinstance(value, np.ndarray | jax.Array):
        return content(value)
    try:
        hash(value)
    except TypeError:
        return object()  # equal to nothing, so that the program is compiled again
    return (type(value), value)


def has_rules(jaxpr: Jaxpr) -> bool:
    """Return whether derivatives of a trace depend on more than the trace: on rules of its own, or on a callback."""

    def inside(value: Any) -> bool:
        if isinstance(value, tuple | list):
            return any(inside(v) for v in value)
        value = value.jaxpr if isinstance(value, ClosedJaxpr) else value
        return isinstance(value, Jaxpr) and has_rules(value)

    names = ("custom_", "pure_callback", "io_callback")
    return any(e.primitive.name.startswith(names) or any(map(inside, e.params.values())) for e in jaxpr.eqns)


def content(value: Any) -> tuple[Hashable, ...]:
    """Return a value that is equal for equal arrays."""
    array = np.asarray(value)
    return array.shape, array.dtype.name, hashlib.sha256(array.tobytes()).digest()
