"""Models that are scored, and how many samples of each."""

import itertools
from dataclasses import dataclass
from typing import Any

TOY_WIDTHS = (2, 128, 128, 128, 16)
TOY_SAMPLES = 100_000


@dataclass(frozen=True)
class Case:
    """A model and its numbers of samples.

    Attributes:
      label: Name of the model in tables.
      vit: Arguments of `jepa_jax.models.vit.ViT`, or None for the toy MLP.
      samples: Number of samples that we score, on CPU and on GPU.
      reference_samples: Number of samples that the float64 reference scores.
      batches: Batch sizes from which the peers choose the fastest.
    """

    label: str
    vit: dict[str, Any] | None = None
    samples: tuple[int, int] = (4, 16)
    reference_samples: int = 2
    batches: tuple[int, ...] = (1, 4)

    @property
    def dim(self) -> int:
        """Number of outputs K."""
        return TOY_WIDTHS[-1] if self.vit is None else self.vit["width"]

    @property
    def null_values(self) -> int:
        """Number of singular values that are null by construction.

        A layer norm makes two null. The sphere makes none null that are among the R < K singular values.
        """
        return 2 if self.vit else 0

    def flops(self) -> int:
        """Return the nominal FLOPs per sample: K times the matrix products of one gradient."""
        if self.vit is None:
            return 2 * self.dim * sum(a * b for a, b in itertools.pairwise(TOY_WIDTHS))
        from jepa_jax.models.vit import ViT

        return self.dim * ViT(**self.vit).flops


def vit_sizes(image_size: int, width: int, depth: int, heads: int) -> dict[str, Any]:
    """Return the arguments of `jepa_jax.models.vit.ViT` for patches of 14 pixels."""
    return {"image_size": image_size, "patch_size": 14, "width": width, "depth": depth, "heads": heads}


CASES = {
    "toy": Case("toy, D = 2, K = 16", None, (TOY_SAMPLES, TOY_SAMPLES), 1000, (1024, 4096)),
    "vit_s_98": Case("ViT-S/14, 98 px", vit_sizes(98, 384, 12, 6)),
    "vit_s_224": Case("ViT-S/14, 224 px", vit_sizes(224, 384, 12, 6), (2, 16), 1),
    "vit_b_224": Case("ViT-B/14, 224 px", vit_sizes(224, 768, 12, 12), (1, 16), 1),
    "vit_l_224": Case("ViT-L/14, 224 px", vit_sizes(224, 1024, 24, 16), (1, 16), 1),
    "vit_h_224": Case("ViT-H/14, 224 px", vit_sizes(224, 1280, 32, 16), (1, 8), 1),
    "tiny": Case("a ViT for the tests", vit_sizes(28, 32, 2, 2), (2, 2), 2, (1, 2)),
}
DEFAULT_SIZES = ("toy", "vit_s_98", "vit_s_224", "vit_b_224")
QUICK_SIZES = ("toy", "vit_s_98")
PEERS = ("listing", "func", "compiled")
QUICK_PEERS = ("listing",)
SINGLE = "listing single"  # beside the listing, for ViTs on a CPU
