"""I-JEPA's predictor: from the tokens of the visible places to those of hidden ones."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jepa_jax.models.transformer import Grid, Params, Transformer, init_blocks, layer_norm, through


@dataclass(frozen=True)
class TokenPredictor:
    """Sizes.

    Attributes:
      grid: rows and columns of tokens.
      outside: width of the encoder's tokens, E.
      width, depth, heads, remat: of the predictor's own blocks.
    """

    grid: Grid
    outside: int
    width: int
    depth: int
    heads: int
    remat: bool = False

    @property
    def body(self) -> Transformer:
        """Its blocks are a transformer's."""
        return Transformer(
            self.grid, self.width, self.depth, self.heads, class_token=False, pooling="mean", remat=self.remat
        )

    def init(self, key: Array) -> Params:
        """Random weights."""
        enter, leave, mask, blocks = jax.random.split(key, 4)
        kernel = nnx.initializers.lecun_normal()
        return {
            "enter": {"kernel": kernel(enter, (self.outside, self.width)), "bias": jnp.zeros(self.width)},
            "mask_token": 0.02 * jax.random.normal(mask, (1, self.width)),
            "blocks": init_blocks(self.body, blocks),
            "norm": {"scale": jnp.ones(self.width), "bias": jnp.zeros(self.width)},
            "leave": {"kernel": kernel(leave, (self.width, self.outside)), "bias": jnp.zeros(self.outside)},
        }

    def apply(
        self,
        params: Params,
        context: Array,
        context_positions: Array,
        context_valid: Array,
        target_positions: Array,
        target_valid: Array,
    ) -> Array:
        """Tokens of hidden places.

        Assran et al., "Self-supervised learning from images with a joint-embedding predictive architecture", arXiv
        2301.08243, section 3: a mask token at the position of each target attends to the context and to the others.

        Args:
          params: the weights.
          context: tokens [C, E] of the visible places.
          context_positions, target_positions: [C, width] and [T, width], what says where they are.
          context_valid, target_valid: [C] and [T], false for padding, to which nothing attends.

        Returns:
          [T, E].
        """
        seen = context @ params["enter"]["kernel"] + params["enter"]["bias"][None] + context_positions
        hidden = params["mask_token"] + target_positions
        valid = jnp.concatenate([context_valid, target_valid])
        x = through(self.body, params["blocks"], jnp.concatenate([seen, hidden]), valid)
        x = layer_norm(params["norm"], x[len(context) :], self.body.norm_eps)
        return x @ params["leave"]["kernel"] + params["leave"]["bias"][None]
