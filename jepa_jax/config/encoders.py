"""The encoders."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, widths

EncoderKind = Literal["mlp", "conv", "vit"]
Activation = Literal["gelu", "silu", "tanh", "softplus", "elu"]


@dataclass(frozen=True)
class Embedding:
    """What all encoders have."""

    dim: int | None = 16
    """Width of the embedding, K. K > 2 D lets a D-dimensional world embed without folding. None: 4 D,
    but from 16 to 128."""
    output: Literal["auto", "free", "sphere"] = "auto"
    """`sphere` divides the embedding by its norm; `auto` takes what the anti-collapse term asks for."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("encoder.", self, *at_least(self, 1, "dim"))


@dataclass(frozen=True)
class MLP(Embedding):
    """Dense layers on the flattened sample."""

    kind: EncoderKind = field(default="mlp", kw_only=True)
    """`mlp` on the flattened sample; `conv` or `vit`, a vision transformer, on images [H, W, C]. Each has options of
    its own, which --encoder.kind KIND --help shows."""
    widths: tuple[int, ...] = (256, 256, 256)
    """Hidden widths."""
    activation: Activation = "gelu"
    """Smooth activations only: the score is made of derivatives."""
    skip: bool = False
    """Add a linear map of the input to the embedding, so that a K = D encoder starts near a bijection."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("encoder.", self, *widths(self, "widths"))


@dataclass(frozen=True)
class Conv(MLP):
    """Convolutions of stride 2, then an MLP."""

    kind: EncoderKind = field(default="conv", kw_only=True)
    """`mlp` on the flattened sample; `conv` or `vit`, a vision transformer, on images [H, W, C]. Each has options of
    its own, which --encoder.kind KIND --help shows."""
    widths: tuple[int, ...] = (32, 64)
    """Channels of the convolutions; each halves the image's sides."""


@dataclass(frozen=True)
class ViT(Embedding):
    """A vision transformer."""

    kind: EncoderKind = field(default="vit", kw_only=True)
    """`mlp` on the flattened sample; `conv` or `vit`, a vision transformer, on images [H, W, C]. Each has options of
    its own, which --encoder.kind KIND --help shows."""
    tokens: Literal["patches"] = "patches"
    """What a token is. `patches`: a square of an image."""
    patch_size: int = 4
    """Side of a patch in pixels; it divides the image's sides."""
    width: int = 96
    """Width of a token."""
    depth: int = 4
    """Blocks."""
    heads: int = 3
    """Attention heads; they divide the width."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("encoder.", self, *at_least(self, 1, "patch_size", "width", "depth", "heads"))


Encoder = MLP | Conv | ViT
