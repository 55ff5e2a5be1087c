"""Predictor of I-JEPA, from the tokens at visible positions to the targets at hidden positions."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jepa_jax.models.transformer import Grid, Params, Transformer, init_blocks, layer_norm, through


@dataclass(frozen=True)
class TokenPredictor:
    """Sizes of the predictor, and its functions.

    Attributes:
      grid: Numbers of rows and columns of tokens.
      outside: Width of the encoder's tokens, E.
      answer: Width of a target, F.
      width: Width of a token in the predictor.
      depth: Number of blocks of the predictor.
      heads: Number of attention heads of the predictor.
      remat: Whether the blocks recompute activations in a backward pass.
      places: Width of the encoder's positions, from which those of the predictor are a learned linear map; None for
        fixed sines and cosines.
    """

    grid: Grid
    outside: int
    answer: int
    width: int
    depth: int
    heads: int
    remat: bool = False
    places: int | None = None

    @property
    def body(self) -> Transformer:
        """Transformer that has the blocks of the predictor."""
        return Transformer(
            self.grid, self.width, self.depth, self.heads, class_token=False, pooling="mean", remat=self.remat
        )

    def init(self, key: Array) -> Params:
        """Return random weights."""
        enter, leave, mask, blocks = jax.random.split(key, 4)
        kernel = nnx.initializers.lecun_normal()
        place = jax.random.fold_in(key, 1)
        places = {} if self.places is None else {"place": {"kernel": kernel(place, (self.places, self.width))}}
        return places | {
            "enter": {"kernel": kernel(enter, (self.outside, self.width)), "bias": jnp.zeros(self.width)},
            "mask_token": 0.02 * jax.random.normal(mask, (1, self.width)),
            "blocks": init_blocks(self.body, blocks),
            "norm": {"scale": jnp.ones(self.width), "bias": jnp.zeros(self.width)},
            "leave": {"kernel": kernel(leave, (self.width, self.answer)), "bias": jnp.zeros(self.answer)},
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
        """Predict the targets at hidden positions.

        Assran et al., "Self-supervised learning from images with a joint-embedding predictive architecture", arXiv
        2301.08243, section 3: a mask token at the position of each target attends to the context and to the other mask
        tokens.

        Args:
          params: Weights.
          context: Tokens [C, E] at the visible positions.
          context_positions: Embeddings [C, width] of the visible positions.
          context_valid: Which context tokens are valid, [C]; no token attends to the others, which are padding.
          target_positions: Embeddings [T, width] of the hidden positions.
          target_valid: Which targets are valid, [T]; no token attends to the others, which are padding.

        Returns:
          Predictions [T, F].
        """
        seen = context @ params["enter"]["kernel"] + params["enter"]["bias"][None] + context_positions
        hidden = params["mask_token"] + target_positions
        valid = jnp.concatenate([context_valid, target_valid])
        x = through(self.body, params["blocks"], jnp.concatenate([seen, hidden]), valid)
        x = layer_norm(params["norm"], x[len(context) :], self.body.norm_eps)
        return x @ params["leave"]["kernel"] + params["leave"]["bias"][None]
