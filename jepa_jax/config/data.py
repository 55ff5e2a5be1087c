"""Config of the data, and of how a sample becomes the views that are compared."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions


@dataclass(frozen=True)
class Data:
    """Data of a run."""

    source: str = "mixture_2d"
    """Name of a world, FILE.npy, FILE.npz, a table FILE.csv, FILE.tsv or FILE.parquet, a folder of images, an image, a
    .txt list of images, `digits`, data of an installed package (`bold`, `chorales`, `diamonds`, `vowels`) or
    `tfds:NAME[/CONFIG][:SPLIT]`."""
    batch_size: int = 512
    """Samples per step, B. Every loss is computed over the whole batch."""
    noise: float | Literal["local"] | None = None
    """Standard deviation of the Gaussian noise that each view adds, in the units of the data. `local`: for vectors in a
    file, proportional to the distance of each row from its tenth neighbour. None: the value of the world; 0 for data
    that come with pairs and with `neighbours`; `local` for other vectors in memory; a tenth of the standard deviation
    of images."""
    noise_factor: float = 0.1
    """For `noise` local: c in the standard deviation c d / sqrt(D), with d the distance of the tenth neighbour, of
    columns divided by their own standard deviations."""
    neighbours: int = 0
    """For samples in memory: the second view is made of another sample, one of this many nearest ones that are trained
    on, by the distance of all numbers. What near samples do not share is then lost. 0: of the sample itself, or of its
    partner if the data have pairs."""
    rho: float | None = None
    """Correlation between the latents of a positive pair, for worlds whose pairs are Ornstein-Uhlenbeck steps."""
    shift: int = 0
    """For images: each view is shifted by up to this many pixels along each axis."""
    holdout: float = 0.0
    """Fraction of the samples that is kept out of training; these samples form the probe set. Not for worlds."""
    probe_source: str = ""
    """For streams: dataset that provides the probe set, such as `tfds:cifar10:test`. Empty: the samples that `holdout`
    keeps out of training."""
    stream: bool | None = None
    """Read images during training instead of holding all of them on the device. None: for all folders and `tfds:`
    datasets, and for array files above 1 GB."""
    size: int | None = None
    """For streams: side in pixels of the square to which every image is brought, by resizing its shorter side and
    cropping the square in the centre. None: all images have the same size already."""
    channels: Literal[1, 3] = 3
    """For streams: 3 for colour images, 1 for grey ones."""
    max_pixels: int | None = None
    """For image files: maximum number of pixels of one; larger ones are not read, a guard against files that are small
    and decode to gigabytes. None: 178956970, or the value of the environment variable JEPA_JAX_MAX_PIXELS."""
    workers: int = 0
    """For streams: number of worker processes that read and decode images; 0 uses threads of the main process."""
    columns: tuple[str, ...] = ()
    """For tables: names of the columns that are input, in their order. Empty: all columns of numbers and those in
    `categorical`, except `id`, `label`, `log_density` and `split`."""
    offset: tuple[float, ...] = ()
    """For vectors in a file: number that is subtracted from each column in float64, before the samples are rounded to
    float32. Empty: the mean of each column of which float32 would keep at most three digits, and 0 for the others."""
    categorical: tuple[str, ...] = ()
    """For tables: names of the columns of categories, such as columns of words."""
    levels: tuple[str, ...] = ()
    """For tables: values of the columns of categories, as COLUMN=VALUE in the order of their codes. Empty: those that
    the table has."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [*at_least(self, 2, "batch_size"), *at_least(self, 0, "noise_factor", "neighbours", "shift", "workers")]
        local = self.noise in (None, "local") or (isinstance(self.noise, float | int) and self.noise >= 0)
        rules.append(("categorical", not any("=" in name for name in self.categorical), "have names without ="))
        rules.append(("noise", local, "be at least 0, or local"))
        check("data.", self, *rules, *at_least(self, 1, "size", "max_pixels"), *fractions(self, "rho", "holdout"))


ViewsKind = Literal["noise", "crops"]


@dataclass(frozen=True)
class Noise:
    """Two noisy views of a sample, by `data.noise` and `data.shift`, or by the pairs of a world or a file."""

    kind: ViewsKind = field(default="noise", kw_only=True)
    """How a sample becomes views. `noise`: two views, by the options of the data (noise, shift, the pairs of a world).
    `crops`: random resized crops of an image, with flips, changes of colour, and noise."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("views.", self)


@dataclass(frozen=True)
class Crops:
    """Random resized crops of an image."""

    kind: ViewsKind = field(default="crops", kw_only=True)
    """How a sample becomes views. `noise`: two views, by the options of the data (noise, shift, the pairs of a world).
    `crops`: random resized crops of an image, with flips, changes of colour, and noise."""
    global_views: int = 2
    """Number of large crops of an image."""
    local_views: int = 0
    """Number of small crops of an image; the large crops are predicted from them."""
    global_scale: tuple[float, float] = (0.3, 1.0)
    """Smallest and largest area of a large crop, as fractions of the area of the image."""
    local_scale: tuple[float, float] = (0.05, 0.3)
    """Smallest and largest area of a small crop, as fractions of the area of the image."""
    flip: float = 0.5
    """Probability that a view is mirrored horizontally."""
    jitter: float = 0.8
    """Probability that the brightness, contrast, saturation and hue of a view change."""
    grey: float = 0.2
    """Probability that a view is converted to grey."""
    blur: float = 0.0
    """Probability that a view is blurred."""
    noise: float = 0.0
    """Standard deviation of the Gaussian noise on the pixels of a view."""
    local_size: int | None = None
    """Side of a small crop in pixels; only a `vit` takes crops smaller than the image. None: the side of the image."""

    def __post_init__(self) -> None:
        """Check the values; `views.Augmentation` checks the ranges."""
        check("views.", self, *at_least(self, 1, "global_views"), *at_least(self, 0, "local_views"))


Views = Noise | Crops
