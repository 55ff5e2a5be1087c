"""Labelled samples on which the embedding is probed during training."""

import numpy as np

from jepa_jax.config import Config
from jepa_jax.data import Source
from jepa_jax.errors import ConfigError

Labels = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # of training and of held-out samples


def open_labels(config: Config, source: Source) -> Labels | None:
    """Return training samples and held-out samples, both with labels, or None.

    Raises:
      ConfigError: If the config requires labels and there are none.
    """
    options = config.monitor
    if options.labels is False:
        return None
    if source.labelled is None:
        if options.labels:
            raise ConfigError(
                f"`monitor.labels` needs labels and held-out samples, and {config.data.source} does not have both: "
                "set `data.holdout` to keep some out, or name another dataset with `data.probe_source`"
            )
        return None
    judged = source.probe(options.labelled)
    if judged.label is None:
        if options.labels:
            raise ConfigError(f"`monitor.labels`: {config.data.probe_source} has samples without a label")
        return None
    return source.labelled(options.labelled), (np.asarray(judged.x), np.asarray(judged.label))
