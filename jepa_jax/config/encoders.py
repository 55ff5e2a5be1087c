"""Config of the encoders."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions, positive, widths

EncoderKind = Literal["mlp", "conv", "vit", "pretrained", "triangular", "linear"]
Activation = Literal["gelu", "silu", "tanh", "softplus", "elu"]


@dataclass(frozen=True)
class Embedding:
    """Fields that all encoders have."""

    dim: int | None = 16
    """Width of the embedding, K. With K > 2 D, a D-dimensional world can be embedded without folding. None: 4 D, but at
    least 16 and at most 128; with the recipe `masked`, the width of a token."""
    output: Literal["auto", "free", "sphere"] = "auto"
    """`sphere` divides the embedding by its norm, `free` does not, and `auto` does what the anti-collapse term
    requires."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("encoder.", self, *at_least(self, 1, "dim"))


@dataclass(frozen=True)
class MLP(Embedding):
    """Dense layers on the flattened sample."""

    kind: EncoderKind = field(default="mlp", kw_only=True)
    """Network of the encoder: an `mlp` on the flattened sample, a `conv` network or a `vit` (vision transformer) on
    images [H, W, C], a `triangular` map on the flattened sample, which cannot fold, or a deep `linear` network. Each
    kind has options of its own; --encoder.kind KIND --help shows them."""
    widths: tuple[int, ...] = (256, 256, 256)
    """Widths of the hidden layers."""
    activation: Activation = "gelu"
    """Activation function. All choices are smooth, because the score is computed from derivatives."""
    skip: bool = False
    """Add a linear map of the input to the embedding, so that an encoder with K = D starts near a bijection."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("encoder.", self, *widths(self, "widths"))


@dataclass(frozen=True)
class Conv(MLP):
    """Convolutions of stride 2, followed by an MLP."""

    kind: EncoderKind = field(default="conv", kw_only=True)
    """Network of the encoder: an `mlp` on the flattened sample, a `conv` network or a `vit` (vision transformer) on
    images [H, W, C], a `triangular` map on the flattened sample, which cannot fold, or a deep `linear` network. Each
    kind has options of its own; --encoder.kind KIND --help shows them."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of the convolutions; each convolution halves the sides of the image."""


@dataclass(frozen=True)
class ViT(Embedding):
    """Vision transformer."""

    kind: EncoderKind = field(default="vit", kw_only=True)
    """Network of the encoder: an `mlp` on the flattened sample, a `conv` network or a `vit` (vision transformer) on
    images [H, W, C], a `triangular` map on the flattened sample, which cannot fold, or a deep `linear` network. Each
    kind has options of its own; --encoder.kind KIND --help shows them."""
    tokens: Literal["patches"] = "patches"
    """What a token represents. `patches`: a rectangular patch of a sample [H, W, C]: of an image, of some times of a
    series whose channels are rows, of a spectrogram; or a column of a table, which is taken as [D, 1, 1]."""
    patch_size: int | tuple[int, int] = 4
    """Side of a patch, or its height and width, in pixels; they must divide the sides of the image."""
    per_row: bool = False
    """Whether each row of patches has a map of its own to tokens, as for the columns of a table."""
    row_positions: Literal["none", "sincos", "learned", "given"] = "sincos"
    """What tells the rows of patches apart: fixed sines and cosines, learned positions, a learned linear map of the
    `row_features` that the data give, or nothing."""
    column_positions: Literal["none", "sincos", "learned"] = "sincos"
    """What tells the columns of patches apart, as for rows."""
    registers: int = 0
    """Number of learned tokens beside those of the patches, which masks never hide."""
    readout: Literal["mean", "register", "flatten"] = "mean"
    """What becomes the embedding: the mean of the tokens of patches; one more register; or all tokens of patches one
    after the other, where K is their number times the width of a token."""
    width: int = 96
    """Width of a token."""
    depth: int = 4
    """Number of transformer blocks."""
    heads: int = 3
    """Number of attention heads; it must divide the width."""
    categories: tuple[int, ...] = field(default=(), metadata={"derived": True})
    """Number of categories of each input number of a table, 0 for a continuous one, as the data have them."""
    row_features: int = field(default=0, metadata={"derived": True})
    """Number of the numbers that the data give for each row."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        sides = self.patch_size if isinstance(self.patch_size, tuple) else (self.patch_size,)
        rule = ("patch_size", len(sides) in (1, 2) and min(sides) >= 1, "be at least 1, or a height and a width")
        check("encoder.", self, rule, *at_least(self, 1, "width", "depth", "heads"), *at_least(self, 0, "registers"))


@dataclass(frozen=True)
class PretrainedViT(ViT):
    """Vision transformer that was trained elsewhere; `init_from` brings its sizes and its weights."""

    kind: EncoderKind = field(default="pretrained", kw_only=True)
    """Network of the encoder: an `mlp` on the flattened sample, a `conv` network or a `vit` (vision transformer) on
    images [H, W, C], a `triangular` map on the flattened sample, which cannot fold, or a deep `linear` network. Each
    kind has options of its own; --encoder.kind KIND --help shows them."""
    hidden: int | None = field(default=None, metadata={"derived": True})
    """Hidden width of an MLP. None: four times the width of a token."""
    norm_eps: float = field(default=1e-6, metadata={"derived": True})
    """Epsilon of the layer norms."""
    class_token: bool = field(default=True, metadata={"derived": True})
    """Whether a class token precedes the others."""
    positions: Literal["learned", "sincos"] = field(default="learned", metadata={"derived": True})
    """Positions of all tokens, in place of those of rows and columns."""
    patch_bias: bool = field(default=True, metadata={"derived": True})
    """Whether the map from a patch to a token has a bias."""
    qkv_bias: bool = field(default=True, metadata={"derived": True})
    """Whether the map to queries, keys and values has a bias."""
    pre_norm: bool = field(default=False, metadata={"derived": True})
    """Whether a layer norm follows the positions."""
    layer_scale: bool = field(default=False, metadata={"derived": True})
    """Whether the outputs of attention and MLP are multiplied by learned gains."""
    mlp: Literal["gelu", "quick_gelu", "swiglu"] = field(default="gelu", metadata={"derived": True})
    """Activation of an MLP."""
    pooling: Literal["class", "mean"] = field(default="class", metadata={"derived": True})
    """Token that becomes the embedding: the class token, or the mean of those of patches."""
    projection: int | None = field(default=None, metadata={"derived": True})
    """Width of a linear map from the pooled token to the embedding. None: no such map."""


@dataclass(frozen=True)
class Triangular:
    """Triangular map that cannot fold (K = D): each coordinate through a mixture CDF given those before it."""

    kind: EncoderKind = field(default="triangular", kw_only=True)
    """Network of the encoder: an `mlp` on the flattened sample, a `conv` network or a `vit` (vision transformer) on
    images [H, W, C], a `triangular` map on the flattened sample, which cannot fold, or a deep `linear` network. Each
    kind has options of its own; --encoder.kind KIND --help shows them."""
    dim: int | None = field(default=None, metadata={"derived": True})
    """Width of the embedding, K. None: that of the output, which is the only possible one: D, or 2 D on the torus."""
    output: Literal["auto", "cube", "torus", "gaussian"] = "auto"
    """Space of the embedding. `cube`: distribution functions in (0, 1), whose JEPA-SCORE is a normalised log-density.
    `torus`: their cosines and sines, on the unit sphere. `gaussian`: normal quantiles. `auto`: the cube for the
    term `entropy`, the torus for terms that act on the sphere, else `gaussian`."""
    widths: tuple[int, ...] | None = None
    """Widths of the hidden layers of the masked network, at least D - 1. None: three layers of 2 D, at least 128."""
    components: int | None = None
    """Components of each mixture. None: 32 up to four dimensions, 16 up to sixteen, else 10."""
    kernel: Literal["normal", "box"] | None = "normal"
    """Shape of a component: `normal`, or `box`, a uniform distribution with edges as sharp as those of the data. None:
    `box` up to four dimensions, where it costs little, else `normal`."""
    dropout: float | None = 0.0
    """Probability with which training drops a hidden unit, against overfitting to a table of rows. None: 0 up to eight
    dimensions, 0.2 up to sixteen, else 0.3."""
    order: Literal["identity", "reversed", "permuted", "rotated"] = "identity"
    """Order of the coordinates. `permuted`: a random order that depends on the seed. `rotated`: the coordinates of a
    random rotation of the standardised sample."""
    members: int = 1
    """Number of maps that are trained side by side, each with an order of its own. The density is their mixture,
    weighted by the likelihood of held-out samples; the score is that of the map with the largest weight."""

    def __post_init__(self) -> None:
        """Check the values."""
        layers = ("widths", self.widths != (), "have at least one layer")
        check(
            "encoder.",
            self,
            *at_least(self, 1, "dim", "components", "members"),
            *widths(self, "widths"),
            layers,
            *fractions(self, "dropout"),
        )


@dataclass(frozen=True)
class Linear:
    """Deep linear network without biases, of orthogonal layers of one small scale (a balanced start)."""

    kind: EncoderKind = field(default="linear", kw_only=True)
    """Network of the encoder: an `mlp` on the flattened sample, a `conv` network or a `vit` (vision transformer) on
    images [H, W, C], a `triangular` map on the flattened sample, which cannot fold, or a deep `linear` network. Each
    kind has options of its own; --encoder.kind KIND --help shows them."""
    dim: int | None = field(default=None, metadata={"derived": True})
    """Width of the embedding, K, which is D, that of the sample."""
    output: Literal["auto", "free"] = "auto"
    """Space of the embedding, which is not restricted."""
    depth: int = 2
    """Number of layers, L."""
    start: float = 0.3
    """Singular value of every layer at the start, u_0; that of the encoder is u_0^L."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("encoder.", self, *at_least(self, 1, "dim", "depth"), *positive(self, "start"))


Encoder = MLP | Conv | ViT | PretrainedViT | Triangular | Linear
