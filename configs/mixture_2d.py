"""Eight Gaussians in the plane."""

from jepa_jax.config import Config


def get_config() -> Config:
    """The config."""
    return Config()
