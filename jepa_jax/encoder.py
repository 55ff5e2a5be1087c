"""Trained encoder as one object: a pure function of one sample that carries its weights as a pytree."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from PIL import Image

from jepa_jax.images import Preprocessing, squashed


class Told:
    """Description of weights. All are equal, because none plays a part in what is computed and compiled."""

    def __init__(self, origin: dict[str, Any] | None = None) -> None:
        self.origin = origin

    def __eq__(self, other: object) -> bool:
        """Return whether this is a description of weights, too."""
        return isinstance(other, Told)

    def __hash__(self) -> int:
        """Return the hash that all have."""
        return 0


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)  # compared and hashed by identity, so that jax.jit accepts one
class Encoder:
    """Pure function from one sample to its embedding [K], for use with `jax.vmap`, `jax.jacrev` and `jax.jit`.

    Attributes:
      params: Weights.
      apply: Function (params, x) -> embedding [K].
      shape: Shape of one sample.
      dim: Width of the embedding, K.
      base: Base distribution p(z) to which training drove the embedding: `normal`, `sphere`, or None if unknown.
      null_directions: Number of output directions that are constant by construction.
      factor: Function (params, x, chunk, platform, memory) -> the embedding and a matrix with the singular values of
        the Jacobian at x, if the network has a faster method than differentiating itself; or None.
      volume: Function (params, x) -> log of the factor by which the encoder enlarges volumes at x, if it cannot fold
        and knows it in closed form; or None.
      preprocessing: Preprocessing from a picture to x, if the weights came with their own; or None.
      densities: Functions (params, x) -> normalised log-density in nats, of the members of a mixture, or of the only
        map; () if the density is known up to a constant at most.
      maps: Functions `apply` and `volume` of each member of a mixture; () if the encoder is a single map.
      inverses: Functions (params, u) -> the sample whose distribution functions are u [D], of the members of a mixture,
        or of the only map; () if the encoder has no inverse in closed form, or a density that is not known.
      weights: Weights of the members in the mixture, [M], which sum to 1; None gives all the same weight.
      told: Description of where the weights came from, if they were trained elsewhere.
      units: Standard deviation of every input number [*shape], in which derivatives are taken if the columns of the
        data are too different for the precision of a decomposition, or too far from 1 for `eps`; or None.
    """

    params: Any
    apply: Callable[[Any, Array], Array] = field(metadata={"static": True})
    shape: tuple[int, ...] = field(metadata={"static": True})
    dim: int = field(metadata={"static": True})
    base: str | None = field(default=None, metadata={"static": True})
    null_directions: int = field(default=0, metadata={"static": True})
    factor: Callable[[Any, Array, int | None, str, int | None], tuple[Array, Array]] | None = field(
        default=None, metadata={"static": True}
    )
    volume: Callable[[Any, Array], Array] | None = field(default=None, metadata={"static": True})
    preprocessing: Preprocessing | None = field(default=None, metadata={"static": True})
    densities: tuple[Callable[[Any, Array], Array], ...] = field(default=(), metadata={"static": True})
    maps: tuple[tuple[Callable[[Any, Array], Array], ...], ...] = field(default=(), metadata={"static": True})
    inverses: tuple[Callable[[Any, Array], Array], ...] = field(default=(), metadata={"static": True})
    told: Told = field(default=Told(), metadata={"static": True})
    weights: Array | None = None
    units: Array | None = None
    carries_weights: ClassVar[bool] = True  # for the scorer, which need not trace it again to find what it reads

    def __call__(self, x: Array) -> Array:
        """Return the embedding [K] of one sample [*shape].

        Raises:
          ValueError: If x is not one sample of this encoder.
        """
        if x.shape != self.shape:
            raise ValueError(
                f"the encoder takes one sample of shape {list(self.shape)}, not {list(x.shape)}; "
                "for a batch, jax.vmap(encoder)(xs)"
            )
        return self.apply(self.params, x)

    def __repr__(self) -> str:
        """Return the shapes, the base distribution and the origin, without the weights."""
        origin = self.origin
        known = [f"base {self.base}"] if self.base else []
        known += [f"{len(self.densities)} normalised densities"] if self.densities else []
        known += [f"{origin['family']} {origin['arch'] or origin['layout']}"] if origin else []
        return f"Encoder({', '.join([f'{list(self.shape)} -> [{self.dim}]', *known])})"

    @property
    def origin(self) -> dict[str, Any] | None:
        """Description of where the weights came from: family, layout, heads, notes and so on; None for our own runs."""
        return self.told.origin

    def log_volume(self, x: Array) -> Array:
        """Return the log of the factor by which the encoder enlarges volumes at one sample [*shape], in nats.

        It is the JEPA-SCORE without a lower limit for singular values, in one forward pass.

        Raises:
          ValueError: If the encoder has no closed form of it, because it may fold.
        """
        if self.volume is None:
            raise ValueError("this encoder may fold and has no closed form of its volume; use jepa_score")
        return self.volume(self.params, x)

    def member_log_densities(self, x: Array) -> Array:
        """Return the normalised log-densities [M] of the members at one sample, in nats; of one map, [1].

        Raises:
          ValueError: If the density of this encoder is not known exactly.
        """
        if not self.densities:
            raise ValueError("the density of this encoder has an unknown constant; use jepa_score")
        return jnp.stack([density(self.params, x) for density in self.densities])

    @property
    def normalised(self) -> bool:
        """Whether the density is known exactly, without an unknown constant."""
        return bool(self.densities)

    def log_density(self, x: Array) -> Array:
        """Return the normalised log-density of one sample [*shape], in nats: that of the mixture of the members.

        Raises:
          ValueError: As in `member_log_densities`.
        """
        return jax.nn.logsumexp(self.member_log_densities(x), b=self._member_weights())

    def sample(self, key: Array, count: int) -> Array:
        """Draw samples [count, *shape] from the learned density: the inverse of the encoder at uniform numbers.

        Args:
          key: PRNG key.
          count: Number of samples.

        Raises:
          ValueError: If the encoder has no inverse, because it may fold.
        """
        if not self.inverses:
            raise ValueError("this encoder may fold and has no inverse; a triangular one with a known density has")
        of_member, of_cube = jax.random.split(key)
        member = jax.random.choice(of_member, len(self.inverses), (count,), p=self._member_weights())
        u = jax.random.uniform(of_cube, (count, math.prod(self.shape)))
        u = jnp.maximum(u, jnp.finfo(u.dtype).eps / 2)  # the quantile of 0 is infinite
        inverses = [partial(inverse, self.params) for inverse in self.inverses]
        return jax.vmap(lambda member, u: jax.lax.switch(member, inverses, u))(member, u)

    def _member_weights(self) -> Array:
        """Return the weights [M] of the members, which sum to 1."""
        count = len(self.densities)
        return jnp.full(count, 1 / count) if self.weights is None else self.weights

    @property
    def jacobian_factor(self) -> Callable[[Array, int | None, str, int | None], tuple[Array, Array]] | None:
        """`factor` with the weights bound, which the scorer uses if it exists instead of differentiating."""
        return None if self.factor is None else partial(self.factor, self.params)

    @property
    def takes_images(self) -> bool:
        """Whether samples are images [H, W, C], in grey or colour."""
        return len(self.shape) == 3 and self.shape[2] in (1, 3)

    @property
    def picture_preprocessing(self) -> Preprocessing | None:
        """Preprocessing that `preprocess` applies, squashing by default; None if samples are not images."""
        return self.preprocessing or (squashed(self.shape) if self.takes_images else None)

    def preprocess(self, image: np.ndarray | Image.Image) -> Array:
        """Convert a picture to the sample that this encoder expects.

        Args:
          image: Picture of any size: a uint8 array [H, W] or [H, W, C] with 1 or 3 channels, or a Pillow image.

        Returns:
          Sample [*shape], by the preprocessing of the encoder. Without one, the picture is squashed to the size of a
          sample (bilinear, antialiased), with values in [0, 1], in grey or colour as the encoder was trained.

        Raises:
          ValueError: If the encoder does not take images, or the image is of another kind.
        """
        return jnp.asarray((self.preprocessing or squashed(self.shape))(image))
