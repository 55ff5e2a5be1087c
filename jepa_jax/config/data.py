"""The data of a run, and how a sample becomes the views that are compared."""

from dataclasses import dataclass, field
from typing import Literal

from jepa_jax.config.checks import at_least, check, fractions


@dataclass(frozen=True)
class Data:
    """The data of a run."""

    source: str = "mixture_2d"
    """A world's name, FILE.npy, FILE.npz, a folder of images, `digits` or `tfds:NAME[/CONFIG][:SPLIT]`."""
    batch_size: int = 512
    """Samples per step, B; every loss is over the whole of it."""
    noise: float | None = None
    """Standard deviation of the Gaussian noise each view adds, in the data's own units. None: the world's own,
    and a tenth of the data's standard deviation for arrays."""
    rho: float | None = None
    """Correlation of a positive pair's latents, for the worlds that pair by an Ornstein-Uhlenbeck step."""
    shift: int = 0
    """Images: each view moves by up to this many pixels along each axis."""
    holdout: float = 0.0
    """The fraction of samples kept out of training; they become the probe set. Not for worlds."""
    probe_source: str = ""
    """Streams: the data set that the probe set comes from, such as `tfds:cifar10:test`. Empty: what `holdout` keeps."""
    stream: bool | None = None
    """Read images as training goes, instead of holding all of them on the device. None: folders and `tfds:` always,
    arrays above 1 GB."""
    size: int | None = None
    """Streams: side in pixels that every image is brought to, its shorter side resized and the middle square cut out.
    None: they have one size already."""
    channels: Literal[1, 3] = 3
    """Streams: 3 for colours, 1 for grey."""
    workers: int = 0
    """Streams: processes that read and decode; 0 for threads of this one."""

    def __post_init__(self) -> None:
        """Check the values."""
        rules = [*at_least(self, 2, "batch_size"), *at_least(self, 0, "noise", "shift", "workers")]
        check("data.", self, *rules, *at_least(self, 1, "size"), *fractions(self, "rho", "holdout"))


ViewsKind = Literal["noise", "crops"]


@dataclass(frozen=True)
class Noise:
    """Two views with noise, as `data.noise`, `data.shift` or the pairs of a world or a file say."""

    kind: ViewsKind = field(default="noise", kw_only=True)
    """How a sample becomes views. `noise`: two, as the data's own options say (noise, shift, a world's pairs); `crops`:
    random resized crops of an image, with flips, colours and noise."""

    def __post_init__(self) -> None:
        """Check the values."""
        check("views.", self)


@dataclass(frozen=True)
class Crops:
    """Random resized crops of an image."""

    kind: ViewsKind = field(default="crops", kw_only=True)
    """How a sample becomes views. `noise`: two, as the data's own options say (noise, shift, a world's pairs); `crops`:
    random resized crops of an image, with flips, colours and noise."""
    global_views: int = 2
    """Large crops of an image."""
    local_views: int = 0
    """Small crops of an image, which predict the large ones."""
    global_scale: tuple[float, float] = (0.3, 1.0)
    """Area of a large crop over the image's, from and to."""
    local_scale: tuple[float, float] = (0.05, 0.3)
    """Area of a small crop over the image's, from and to."""
    flip: float = 0.5
    """Probability that a view is mirrored left and right."""
    jitter: float = 0.8
    """Probability that its brightness, contrast, saturation and hue change."""
    grey: float = 0.2
    """Probability that it loses its colours."""
    blur: float = 0.0
    """Probability that it is blurred."""
    noise: float = 0.0
    """Standard deviation of Gaussian noise on its pixels."""
    local_size: int | None = None
    """Side of a small crop in pixels, for a `vit`. None: the image's own."""

    def __post_init__(self) -> None:
        """Check the values; `views.Augmentation` checks the ranges."""
        check("views.", self, *at_least(self, 1, "global_views"), *at_least(self, 0, "local_views"))


Views = Noise | Crops
