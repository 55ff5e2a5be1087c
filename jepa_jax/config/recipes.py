"""The recipes: what is predicted from what."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions, positive, widths

RecipeKind = Literal["pair", "multiview", "masked", "distill"]


@dataclass(frozen=True)
class Blocks:
    """Masks of rectangular blocks, as in I-JEPA."""

    kind: Literal["blocks"] = field(default="blocks", kw_only=True)
    """Law of the masks. `blocks`: rectangles of the grid of tokens are hidden."""
    targets: int = 4
    """Blocks of patches that are hidden."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("recipe.mask.", self, *at_least(self, 1, "targets"))


Mask = Blocks


@dataclass(frozen=True)
class Teacher:
    """A moving average of the weights that makes the targets."""

    ema: float = 0.0
    """Decay of the teacher, a moving average of the encoder that makes the targets; 0 shares the encoder."""
    ema_end: float | None = None
    """The decay at the last step, reached linearly. None: the same all along."""

    def __post_init__(self) -> None:
        """Check the values."""
        at_most_one = self.ema_end is None or 0 <= self.ema_end <= 1
        check("recipe.", self, *fractions(self, "ema"), ("ema_end", at_most_one, "be in [0, 1]"))


@dataclass(frozen=True)
class Projected(Teacher):
    """A network between the embedding and the loss."""

    projector: tuple[int, ...] = ()
    """Widths of an MLP between the embedding and the loss; (), the loss works on the embedding itself, whose law is
    then known."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("recipe.", self, *widths(self, "projector"))


@dataclass(frozen=True)
class Pair(Projected):
    """Each of two views predicts the other's embedding."""

    kind: RecipeKind = field(default="pair", kw_only=True)
    """What is predicted. `pair`: one view's embedding from the other's. `multiview`: the mean of the large crops from
    every view (LeJEPA). `masked`: the tokens of hidden patches from those of visible ones (I-JEPA; a `vit`). `distill`:
    the teacher's distribution over prototypes from the student's, of another view (DINO). Each has options of its own,
    which --recipe.kind KIND --help shows."""
    predictor: tuple[int, ...] = ()
    """Hidden widths of a predictor MLP from the first view's embedding to the second's; () predicts by identity."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("recipe.", self, *widths(self, "predictor"))


@dataclass(frozen=True)
class Multiview(Projected):
    """Every view predicts the mean of the large crops (LeJEPA)."""

    kind: RecipeKind = field(default="multiview", kw_only=True)
    """What is predicted, as for `pair`."""


@dataclass(frozen=True)
class Masked(Teacher):
    """The tokens of hidden patches from those of visible ones (I-JEPA)."""

    kind: RecipeKind = field(default="masked", kw_only=True)
    """What is predicted, as for `pair`."""
    mask: Mask = field(default_factory=Blocks)
    predictor_width: int = 48
    """Width of the predictor's tokens."""
    predictor_depth: int = 2
    """Blocks of the predictor."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        check("recipe.", self, *at_least(self, 1, "predictor_width", "predictor_depth"))


@dataclass(frozen=True)
class Distill(Projected):
    """The teacher's distribution over prototypes from the student's, of another view (DINO)."""

    kind: RecipeKind = field(default="distill", kw_only=True)
    """What is predicted, as for `pair`."""
    prototypes: int = 256
    """Number of prototypes."""
    student_temperature: float = 0.1
    """Temperature of the student's distribution."""
    teacher_temperature: float = 0.05
    """Temperature of the teacher's distribution."""
    targets: Literal["sinkhorn", "centring"] = "sinkhorn"
    """What keeps the teacher from using one prototype for all."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        temperatures = positive(self, "student_temperature", "teacher_temperature")
        check("recipe.", self, *at_least(self, 1, "prototypes"), *temperatures)


Recipe = Pair | Multiview | Masked | Distill
