"""I-JEPA's predictor: from the tokens of the visible patches to those of hidden ones."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jepa_jax.models.vit import Params, ViT, init_blocks, layer_norm, sincos_positions, through


@dataclass(frozen=True)
class Predictor:
    """Sizes.

    Attributes:
      side: of the grid of patches.
      outside: width of the encoder's tokens, D.
      width, depth, heads, remat: of the predictor's own blocks.
    """

    side: int
    outside: int
    width: int
    depth: int
    heads: int
    remat: bool = False

    @property
    def blocks(self) -> ViT:
        """Its blocks are a vision transformer's."""
        return ViT(
            self.side, 1, self.width, self.depth, self.heads, class_token=False, pooling="mean", remat=self.remat
        )


def init_predictor(config: Predictor, key: Array) -> Params:
    """Random weights."""
    enter, leave, mask, blocks = jax.random.split(key, 4)
    kernel = nnx.initializers.lecun_normal()
    return {
        "enter": {"kernel": kernel(enter, (config.outside, config.width)), "bias": jnp.zeros(config.width)},
        "mask_token": 0.02 * jax.random.normal(mask, (1, config.width)),
        "blocks": init_blocks(config.blocks, blocks),
        "norm": {"scale": jnp.ones(config.width), "bias": jnp.zeros(config.width)},
        "leave": {"kernel": kernel(leave, (config.width, config.outside)), "bias": jnp.zeros(config.outside)},
    }


def predict_tokens(
    config: Predictor,
    params: Params,
    context: Array,
    context_at: Array,
    context_valid: Array,
    target_at: Array,
    target_valid: Array,
) -> Array:
    """The tokens of hidden patches.

    Assran et al., "Self-supervised learning from images with a joint-embedding predictive architecture", arXiv
    2301.08243, section 3: a mask token at the position of each target attends to the context and to the others.

    Args:
      context: tokens [C, D] of the visible patches, and in `context_at` [C] where they are.
      target_at: [T], where the patches to predict are.
      context_valid, target_valid: [C] and [T], false for padding, to which nothing attends.

    Returns:
      [T, D].
    """
    places = jnp.asarray(sincos_positions(config.blocks), context.dtype)
    seen = context @ params["enter"]["kernel"] + params["enter"]["bias"][None] + places[context_at]
    hidden = params["mask_token"] + places[target_at]
    valid = jnp.concatenate([context_valid, target_valid])
    x = through(config.blocks, params["blocks"], jnp.concatenate([seen, hidden]), valid)
    x = layer_norm(params["norm"], x[len(context) :], config.blocks.norm_eps)
    return x @ params["leave"]["kernel"] + params["leave"]["bias"][None]
