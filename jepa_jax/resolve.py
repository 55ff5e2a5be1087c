"""From what a config leaves open to what a run does."""

import math
from dataclasses import replace

from jepa_jax.config import Config, ConfigError
from jepa_jax.data import Source
from jepa_jax.objectives import CRITERIA
from jepa_jax.objectives import build as build_criterion


def resolve(config: Config, source: Source) -> Config:
    """The config with every default that depends on the data or the objective filled in.

    Raises:
      ConfigError: the anti-collapse term and the output do not go together.
    """
    options = config.objective
    criterion = CRITERIA[options.anti_collapse]
    output = criterion.output if config.encoder.output == "auto" else config.encoder.output
    if output == "free" and criterion.output == "sphere":
        raise ConfigError(
            f"--objective.anti-collapse {options.anti_collapse} works on the sphere; leave out --encoder.output free"
        )
    built = build_criterion(
        options.anti_collapse, weight=options.weight, temperature=options.temperature, num_slices=options.num_slices
    )
    size = math.prod(source.shape)
    dim = config.encoder.dim or max(16, min(128, 4 * size))
    return replace(
        config,
        data=replace(config.data, batch_size=source.batch_size),
        encoder=replace(config.encoder, dim=dim, output=output),
        objective=replace(options, weight=built.weight),
    )


def law(config: Config) -> str | None:
    """The law that a resolved config's objective drives its embedding to, or None.

    A free-output term's law does not survive being forced onto the sphere, nor does any with another's output.
    """
    criterion = CRITERIA[config.objective.anti_collapse]
    return criterion.law if criterion.output == config.encoder.output else None
