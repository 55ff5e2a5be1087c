"""Vision transformers of foreign weights: one flat description for every family, and the encoder it stands for."""

from dataclasses import dataclass, fields
from functools import lru_cache

from jepa_jax.encoder import Encoder
from jepa_jax.images import Preprocessing
from jepa_jax.models.token_encoder import TokenEncoder
from jepa_jax.models.tokens import Patches
from jepa_jax.models.transformer import Activation, Params, Pooling, Positions, Transformer


@dataclass(frozen=True)
class ViT:
    """Sizes and variants, as a converted model's config.json holds them.

    Attributes:
      image_size: of an image in pixels, a multiple of `patch_size`: its side, or height and width.
      patch_size: side of a patch in pixels.
      channels: C of an image.
      patch_bias: whether the map from a patch to a token has a bias.

    The others are those of `Transformer`.
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
        """Refuse sizes that do not fit."""
        if isinstance(self.image_size, list):  # as JSON has it
            object.__setattr__(self, "image_size", tuple(self.image_size))
        self.network  # noqa: B018 - its parts check themselves

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image, [H, W, C]."""
        size = self.image_size
        height, width = size if isinstance(size, tuple) else (size, size)
        return height, width, self.channels

    @property
    def network(self) -> TokenEncoder:
        """Patches and transformer."""
        return _network(self)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.network.body.grid

    @property
    def tokens(self) -> int:
        """N, all tokens."""
        return self.network.body.prefix + self.grid[0] * self.grid[1]

    @property
    def dim(self) -> int:
        """K."""
        return self.projection or self.width

    @property
    def null_directions(self) -> int:
        """Output directions that are constant by construction."""
        return self.network.body.null_directions

    @property
    def flops(self) -> int:
        """Arithmetic of the matrix products that take one embedding's gradient back to the image.

        Products and sums. As many as in the forward pass, but for the attention, whose two products have two gradients
        each.
        """
        body, patches = self.network.body, self.grid[0] * self.grid[1]
        tokens = self.tokens
        first = body.inside * (2 if self.mlp == "swiglu" else 1)
        dense = 2 * tokens * self.width * (4 * self.width + first + body.inside)
        attention = 2 * 4 * tokens**2 * self.width
        return self.depth * (dense + attention) + 2 * patches * self.width * self.channels * self.patch_size**2


@lru_cache(maxsize=64)
def _network(config: ViT) -> TokenEncoder:
    """The same object for the same sizes, so that other weights need no other compilation."""
    tokeniser = Patches(config.shape, (config.patch_size, config.patch_size), config.width, config.patch_bias)
    shared = {f.name: getattr(config, f.name) for f in fields(Transformer) if f.name != "grid"}
    return TokenEncoder(tokeniser, Transformer(grid=tokeniser.grid, **shared))


def vit_encoder(config: ViT, params: Params, preprocessing: Preprocessing | None = None) -> Encoder:
    """Encoder of these weights: [H, W, C] -> [K]."""
    network = config.network
    return Encoder(
        params,
        network.apply,
        config.shape,
        config.dim,
        null_directions=config.null_directions,
        factor=network.factor,
        preprocessing=preprocessing,
    )
