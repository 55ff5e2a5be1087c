"""Programs whose matrix products are replaced, as those of a GPU or a TPU."""

from collections.abc import Callable, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Literal

Product = Callable[[Any, Sequence[Any]], Any]


def with_products(program: ClosedJaxpr, args: Sequence[Any], product: Product) -> list[Any]:
    """The results of a program, computed one operation at a time, so that each of them rounds.

    `product` computes a matrix product from its equation and its factors.
    """
    jaxpr = program.jaxpr
    known: dict[Any, Any] = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*program.consts, *args), strict=True))
    for equation in jaxpr.eqns:
        values = [v.val if isinstance(v, Literal) else known[v] for v in equation.invars]
        inner = next((p for p in equation.params.values() if isinstance(p, ClosedJaxpr)), None)
        if equation.primitive.name == "dot_general":
            found = [product(equation, values)]
        elif inner is not None:
            repeat = _scanned if equation.primitive.name == "scan" else _once
            found = repeat(inner, equation, values, product)
        else:
            found = equation.primitive.bind(*values, **equation.params)
            found = found if equation.primitive.multiple_results else [found]
        known.update(zip(equation.outvars, found, strict=True))
    return [known[v] for v in jaxpr.outvars]


def _once(inner: ClosedJaxpr, equation: Any, values: list[Any], product: Product) -> list[Any]:
    return with_products(inner, values, product)


def _scanned(inner: ClosedJaxpr, equation: Any, values: list[Any], product: Product) -> list[Any]:
    """The results of a loop that only carries values from one turn to the next."""
    constants, carried = (equation.params[name] for name in ("num_consts", "num_carry"))
    assert len(values) == constants + carried
    assert len(equation.outvars) == carried
    for _ in range(equation.params["length"]):
        values[constants:] = with_products(inner, values, product)
    return values[constants:]
