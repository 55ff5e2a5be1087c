"""Vision transformers of foreign weights: one flat description for all families, and the encoder that it describes."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from jepa_jax.encoder import Encoder, Told
from jepa_jax.images import Preprocessing
from jepa_jax.models.token_encoder import TokenEncoder
from jepa_jax.models.tokens import Patches
from jepa_jax.models.transformer import Activation, Params, Pooling, Positions, Transformer


@dataclass(frozen=True)
class ViT:
    """Sizes and variants, in the form in which config.json of a converted model stores them.

    The fields that are not listed are those of `Transformer`.

    Attributes:
      image_size: Size of an image in pixels, a multiple of `patch_size`: its side, or its height and width.
      patch_size: Side of a patch in pixels.
      channels: Channels of an image, C.
      patch_bias: Whether the map from a patch to a token has a bias.
    """

    image_size: int | tuple[int, int]
    patch_size: int
    width: int
    depth: int
    heads: int
    hidden: int | None = None
    channels: int = 3
    norm_eps: float = 1e-6
    class_token: bool = True
    registers: int = 0
    positions: Positions = "learned"
    patch_bias: bool = True
    qkv_bias: bool = True
    pre_norm: bool = False
    layer_scale: bool = False
    mlp: Activation = "gelu"
    pooling: Pooling = "class"
    projection: int | None = None
    remat: bool = False

    def __post_init__(self) -> None:
        """Check that the sizes are compatible."""
        if isinstance(self.image_size, list):  # from JSON
            object.__setattr__(self, "image_size", tuple(self.image_size))
        self.network  # noqa: B018 - the parts of the network check themselves

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image, [H, W, C]."""
        size = self.image_size
        height, width = size if isinstance(size, tuple) else (size, size)
        return height, width, self.channels

    @property
    def network(self) -> TokenEncoder:
        """Network of patches and a transformer."""
        return _network(self)

    @property
    def grid(self) -> tuple[int, int]:
        """Numbers of rows and columns of patches."""
        return self.network.body.grid

    @property
    def tokens(self) -> int:
        """Number of all tokens, N."""
        return self.network.body.prefix + self.grid[0] * self.grid[1]

    @property
    def dim(self) -> int:
        """Width of the embedding, K."""
        return self.projection or self.width

    @property
    def null_directions(self) -> int:
        """Number of output directions that are constant by construction."""
        return self.network.body.null_directions

    @property
    def flops(self) -> int:
        """Products and sums in the matrix products that propagate one gradient of the embedding back to the image.

        They are as many as in the forward pass, except in the attention, whose two products have two gradients each.
        """
        body, patches = self.network.body, self.grid[0] * self.grid[1]
        tokens = self.tokens
        first = body.inside * (2 if self.mlp == "swiglu" else 1)
        dense = 2 * tokens * self.width * (4 * self.width + first + body.inside)
        attention = 2 * 4 * tokens**2 * self.width
        return self.depth * (dense + attention) + 2 * patches * self.width * self.channels * self.patch_size**2


@lru_cache(maxsize=64)
def _network(config: ViT) -> TokenEncoder:
    """Return the same object for the same sizes, so that other weights need no new compilation."""
    tokeniser = Patches(config.shape, (config.patch_size, config.patch_size), config.width, config.patch_bias)
    shared = {f.name: getattr(config, f.name) for f in fields(Transformer) if f.name != "grid"}
    return TokenEncoder(tokeniser, Transformer(grid=tokeniser.grid, **shared))


def vit_encoder(
    config: ViT, params: Params, preprocessing: Preprocessing | None = None, origin: Mapping[str, Any] | None = None
) -> Encoder:
    """Return the encoder with these weights, [H, W, C] -> [K].

    Args:
      config: Sizes and variants.
      params: Weights.
      preprocessing: Recipe from a picture to an image, or None.
      origin: Description of where the weights came from, as JSON, or None.
    """
    network = config.network
    return Encoder(
        params,
        network.apply,
        config.shape,
        config.dim,
        null_directions=config.null_directions,
        factor=network.factor,
        preprocessing=preprocessing,
        told=Told(None if origin is None else dict(origin)),
    )
