"""Real data that lie inside installable packages, read from their files without importing the packages."""

from collections.abc import Callable

from jepa_jax.data.installed.bold import read_bold
from jepa_jax.data.installed.chorales import read_chorales
from jepa_jax.data.installed.diamonds import read_diamonds
from jepa_jax.data.installed.vowels import read_vowels
from jepa_jax.data.samples import Samples

# Functions () -> samples by the name of the data; they raise ConfigError if the package is missing or damaged.
INSTALLED: dict[str, Callable[[], Samples]] = {
    "bold": read_bold,
    "chorales": read_chorales,
    "diamonds": read_diamonds,
    "vowels": read_vowels,
}

__all__ = ["INSTALLED"]
