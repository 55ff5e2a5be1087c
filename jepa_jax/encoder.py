"""A trained encoder as one object: a pure function of one sample that carries its weights as a pytree."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax import Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Encoder:
    """`encoder(x)` maps one sample to its embedding [K]; goes into `jax.vmap`, `jax.jacrev`, `jax.jit`.

    Attributes:
      params: the weights.
      apply: (params, x) -> [K].
      shape: of one sample.
      dim: K.
      law: the law training drove the embedding to: `normal`, `sphere`, or None if unknown.
      null_directions: output directions that are constant by construction.
    """

    params: Any
    apply: Callable[[Any, Array], Array] = field(metadata={"static": True})
    shape: tuple[int, ...] = field(metadata={"static": True})
    dim: int = field(metadata={"static": True})
    law: str | None = field(default=None, metadata={"static": True})
    null_directions: int = field(default=0, metadata={"static": True})

    def __call__(self, x: Array) -> Array:
        """Embedding [K] of one sample [*shape].

        Raises:
          ValueError: x is not one sample of this encoder.
        """
        if x.shape != self.shape:
            raise ValueError(
                f"the encoder takes one sample of shape {list(self.shape)}, not {list(x.shape)}; "
                "for a batch, jax.vmap(encoder)(xs)"
            )
        return self.apply(self.params, x)
