"""Config of the recipes: what is predicted from what."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions, positive, widths

RecipeKind = Literal["pair", "multiview", "masked", "distill"]


MaskKind = Literal["blocks", "cross", "windows", "curriculum"]


@dataclass(frozen=True)
class Blocks:
    """Masks of rectangular blocks, as in I-JEPA."""

    kind: MaskKind = field(default="blocks", kw_only=True)
    """Distribution of the masks. `blocks`: rectangles in the grid of tokens are hidden (I-JEPA). `cross`: whole rows,
    whole columns or both are hidden. `windows`: most of a small window is hidden, and nothing is visible outside of
    it. `curriculum`: from one of these to another. Each kind has options of its own; --recipe.mask.kind KIND --help
    shows them."""
    targets: int = 4
    """Number of blocks of patches that are hidden."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("recipe.mask.", self, *at_least(self, 1, "targets"))


Hiding = Literal["none", "subset", "runs"]


@dataclass(frozen=True)
class Cross:
    """Masks of whole rows and columns: columns of a table, times, sensors, frequencies."""

    kind: MaskKind = field(default="cross", kw_only=True)
    """Distribution of the masks. `blocks`: rectangles in the grid of tokens are hidden (I-JEPA). `cross`: whole rows,
    whole columns or both are hidden. `windows`: most of a small window is hidden, and nothing is visible outside of
    it. `curriculum`: from one of these to another. Each kind has options of its own; --recipe.mask.kind KIND --help
    shows them."""
    rows: Hiding = "none"
    """Which rows of the grid are hidden: any `subset`, `runs` of neighbours, or `none`."""
    row_share: tuple[float, float] = (0.5, 0.5)
    """Smallest and largest share of the rows that is hidden; one row at least stays visible."""
    row_runs: int = 1
    """Number of runs of hidden rows."""
    columns: Hiding = "none"
    """Which columns of the grid are hidden: any `subset`, `runs` of neighbours, or `none`."""
    column_share: tuple[float, float] = (0.5, 0.5)
    """Smallest and largest share of the columns that is hidden; one column at least stays visible."""
    column_runs: int = 1
    """Number of runs of hidden columns."""
    column_gap: int = 0
    """Hidden columns beside visible ones that are not predicted: what times share with their neighbours alone is easy
    to predict and says little of the whole. Needs `columns` runs."""
    asked: tuple[Literal["rows", "columns", "both"], ...] = ("rows", "columns", "both")
    """Hidden tokens that are predicted: those in hidden `rows` and visible columns, those in hidden `columns` and
    visible rows, and those in `both` a hidden row and a hidden column."""
    asked_share: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest share of these tokens that a target has."""
    targets: int = 1
    """Number of targets, each with a share of its own."""

    def __post_init__(self) -> None:
        """Check the values; `masking.Cross` checks the ranges."""
        counts = at_least(self, 1, "row_runs", "column_runs", "targets")
        check("recipe.mask.", self, *counts, *at_least(self, 0, "column_gap"))


@dataclass(frozen=True)
class Windows:
    """Masks in small windows, outside of which nothing is visible."""

    kind: MaskKind = field(default="windows", kw_only=True)
    """Distribution of the masks. `blocks`: rectangles in the grid of tokens are hidden (I-JEPA). `cross`: whole rows,
    whole columns or both are hidden. `windows`: most of a small window is hidden, and nothing is visible outside of
    it. `curriculum`: from one of these to another. Each kind has options of its own; --recipe.mask.kind KIND --help
    shows them."""
    size: int = 7
    """Side of a window in tokens."""
    share: float = 0.8
    """Share of a window that is hidden."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("recipe.mask.", self, *at_least(self, 2, "size"), *fractions(self, "share"))


@dataclass(frozen=True)
class Curriculum:
    """Masks of one kind at first, and more and more often of another, as in A-JEPA."""

    kind: MaskKind = field(default="curriculum", kw_only=True)
    """Distribution of the masks. `blocks`: rectangles in the grid of tokens are hidden (I-JEPA). `cross`: whole rows,
    whole columns or both are hidden. `windows`: most of a small window is hidden, and nothing is visible outside of
    it. `curriculum`: from one of these to another. Each kind has options of its own; --recipe.mask.kind KIND --help
    shows them."""
    early: Blocks | Cross | Windows = field(default_factory=Blocks)
    late: Blocks | Cross | Windows = field(default_factory=lambda: Cross(rows="runs", columns="runs"))
    start: float = 0.01
    """c, which determines the share c^2 of late masks in the first step."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("recipe.mask.", self, *fractions(self, "start"))


Mask = Blocks | Cross | Windows | Curriculum


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
    predictor: tuple[int, ...] | Literal["linear"] = ()
    """Hidden widths of a predictor MLP from the embedding of the first view, and the condition if the data have one, to
    that of the second. (): the embedding itself is the prediction. `linear`: a linear map of it."""
    direction: Literal["both", "forward"] = "both"
    """`both`: each view is predicted from the other. `forward`: the second from the first alone, as for frames in time
    or for data with a condition."""
    target: Literal["embedding", "tokens", "sample"] = "embedding"
    """What is predicted: the embedding of the other view; each of its tokens, normalised, from the same token
    (Stem-JEPA; needs a `vit`); or the other view itself, as a masked autoencoder does (needs a predictor)."""
    stop_gradient: bool = False
    """Whether targets have no gradient where there is no teacher. A teacher's never have."""
    conditions: int = field(default=0, metadata={"derived": True})
    """Number of the numbers in the condition of an example, as the data have them."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        if self.predictor != "linear":
            check("recipe.", self, *widths(self, "predictor"))
        forward = self.target != "sample" or (bool(self.predictor) and self.direction == "forward")
        rule = ("target", forward, "be embedding or tokens without a predictor in the direction forward")
        check("recipe.", self, rule, *at_least(self, 0, "conditions"))


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
    masks: int = 1
    """Number of masks of a sample in a step, each with a context of its own."""
    target: Literal["tokens", "pixels", "gradient", "products"] = "tokens"
    """What is predicted at hidden positions: `tokens` of the teacher; `pixels`, the standardised numbers of the patch
    (a masked autoencoder, as a control); `gradient`, the ratios of brightness around each pixel at four scales, which
    multiplicative noise leaves alone (SAR-JEPA; needs samples that are the logarithm of an intensity); or `products`
    of any two whitened numbers of the patch, which tell series apart whose covariances differ."""
    scales: tuple[int, ...] = (1, 2, 3, 4)
    """For the target `gradient`: half-widths in pixels of the squares that are compared."""
    normed: bool = True
    """Whether targets are normalised to mean 0 and variance 1 within each token."""
    pair_weight: float = 0.0
    """Weight of a second prediction beside that of hidden tokens: one embedding of a sample from another, as in the
    recipe `pair`. 0: there is none."""
    pair_of: Literal["noise", "masks"] = "noise"
    """What these are embeddings of: two views with `noise` of their own, from which the density is learned; or, by
    `masks`, the visible tokens and all others, which share what the whole sample decides, such as its class."""
    predictor_width: int = 48
    """Width of a token in the predictor."""
    predictor_depth: int = 2
    """Number of transformer blocks in the predictor."""

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        rules = [*at_least(self, 1, "predictor_width", "predictor_depth", "masks"), *at_least(self, 0, "pair_weight")]
        scales = ("scales", bool(self.scales) and min(self.scales) >= 1, "have half-widths of at least 1")
        paired = self.pair_weight > 0 or self.pair_of == "noise"
        check("recipe.", self, *rules, scales, ("pair_of", paired, "be noise where `recipe.pair_weight` is 0"))


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
