"""Config of the recipes: what is predicted from what."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions, positive, widths

RecipeKind = Literal["pair", "multiview", "masked", "distill"]


@dataclass(frozen=True)
class Blocks:
    """Masks of rectangular blocks, as in I-JEPA."""

    kind: Literal["blocks"] = field(default="blocks", kw_only=True)
    """Distribution of the masks. `blocks`: rectangles in the grid of tokens are hidden."""
    targets: int = 4
    """Number of blocks of patches that are hidden."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("recipe.mask.", self, *at_least(self, 1, "targets"))


Mask = Blocks


@dataclass(frozen=True)
class Teacher:
    """Teacher that computes the targets, a moving average of the weights."""

    ema: float = 0.0
    """Decay of the teacher, a moving average of the encoder that computes the targets; with 0, the encoder computes
    them itself."""
    ema_end: float | None = None
    """Decay of the teacher at the last step, reached linearly. None: the decay is constant."""

    def __post_init__(self) -> None:
        """Check the values."""
        at_most_one = self.ema_end is None or 0 <= self.ema_end <= 1
        check("recipe.", self, *fractions(self, "ema"), ("ema_end", at_most_one, "be in [0, 1]"))


@dataclass(frozen=True)
class Projected(Teacher):
    """Network between the embedding and the loss, beside the teacher."""

    projector: tuple[int, ...] = ()
    """Widths of an MLP between the embedding and the loss. (): the loss acts on the embedding itself, whose
    distribution is then known."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("recipe.", self, *widths(self, "projector"))


@dataclass(frozen=True)
class Pair(Projected):
    """Prediction of the embedding of each of two views from the other."""

    kind: RecipeKind = field(default="pair", kw_only=True)
    """What is predicted. `pair`: the embedding of one view from that of the other. `multiview`: the mean embedding of
    the large crops from every view (LeJEPA). `masked`: the tokens of hidden patches from those of visible patches
    (I-JEPA; needs a `vit`). `distill`: the teacher's distribution over prototypes from the student's distribution for
    another view (DINO). Each kind has options of its own; --recipe.kind KIND --help shows them."""
    predictor: tuple[int, ...] = ()
    """Hidden widths of a predictor MLP from the embedding of the first view to that of the second. (): the embedding
    itself is the prediction."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("recipe.", self, *widths(self, "predictor"))


@dataclass(frozen=True)
class Multiview(Projected):
    """Prediction of the mean embedding of the large crops from every view (LeJEPA)."""

    kind: RecipeKind = field(default="multiview", kw_only=True)
    """What is predicted. `pair`: the embedding of one view from that of the other. `multiview`: the mean embedding of
    the large crops from every view (LeJEPA). `masked`: the tokens of hidden patches from those of visible patches
    (I-JEPA; needs a `vit`). `distill`: the teacher's distribution over prototypes from the student's distribution for
    another view (DINO). Each kind has options of its own; --recipe.kind KIND --help shows them."""


@dataclass(frozen=True)
class Masked(Teacher):
    """Prediction of the tokens of hidden patches from those of visible patches (I-JEPA)."""

    kind: RecipeKind = field(default="masked", kw_only=True)
    """What is predicted. `pair`: the embedding of one view from that of the other. `multiview`: the mean embedding of
    the large crops from every view (LeJEPA). `masked`: the tokens of hidden patches from those of visible patches
    (I-JEPA; needs a `vit`). `distill`: the teacher's distribution over prototypes from the student's distribution for
    another view (DINO). Each kind has options of its own; --recipe.kind KIND --help shows them."""
    mask: Mask = field(default_factory=Blocks)
    predictor_width: int = 48
    """Width of a token in the predictor."""
    predictor_depth: int = 2
    """Number of transformer blocks in the predictor."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("recipe.", self, *at_least(self, 1, "predictor_width", "predictor_depth"))


@dataclass(frozen=True)
class Distill(Projected):
    """Prediction of the teacher's distribution over prototypes from the student's, for another view (DINO)."""

    kind: RecipeKind = field(default="distill", kw_only=True)
    """What is predicted. `pair`: the embedding of one view from that of the other. `multiview`: the mean embedding of
    the large crops from every view (LeJEPA). `masked`: the tokens of hidden patches from those of visible patches
    (I-JEPA; needs a `vit`). `distill`: the teacher's distribution over prototypes from the student's distribution for
    another view (DINO). Each kind has options of its own; --recipe.kind KIND --help shows them."""
    prototypes: int = 256
    """Number of prototypes."""
    student_temperature: float = 0.1
    """Temperature of the student's distribution."""
    teacher_temperature: float = 0.05
    """Temperature of the teacher's distribution."""
    targets: Literal["sinkhorn", "centring"] = "sinkhorn"
    """Method that keeps the teacher from assigning all samples to one prototype."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        temperatures = positive(self, "student_temperature", "teacher_temperature")
        check("recipe.", self, *at_least(self, 1, "prototypes"), *temperatures)


Recipe = Pair | Multiview | Masked | Distill
