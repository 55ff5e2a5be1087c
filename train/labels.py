"""Labelled samples on which the embedding is probed during training."""

import numpy as np

from jepa_jax import evaluate
from jepa_jax.config import Config
from jepa_jax.data import Source
from jepa_jax.errors import ConfigError

Labels = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # of training and of held-out samples


def open_labels(config: Config, source: Source) -> Labels | None:
    """Return training samples and held-out samples, both with labels; None if no accuracy can be stated.

    Raises:
      ConfigError: If the config requires labels, and there are none, too few samples have one, or all have the same.
    """
    options = config.monitor
    if options.labels is False:
        return None
    found, lacking = None, f"{config.data.source} does not have both"
    if source.labelled is not None:
        found = known_labels(source, options.labelled)
        judged = config.data.probe_source or "the held-out part"
        least = evaluate.LEAST_SAMPLES
        (_, fit), (_, held) = found
        if len(held) < least:
            found, lacking = None, f"{judged} has {len(held)} samples with a label, of {least} at least"
        elif len(np.unique(fit)) < 2:
            found, lacking = None, f"all labels of {config.data.source} are the same"
    if found is None and options.labels:
        raise ConfigError(
            f"`monitor.labels` needs labels and held-out samples, and {lacking}: "
            "set `data.holdout` to keep some out, or name another dataset with `data.probe_source`"
        )
    return found


def known_labels(source: Source, count: int) -> Labels:
    """Return at most `count` training samples and held-out samples that have a label."""
    assert source.labelled is not None
    judged = source.probe(count)
    x, label = np.asarray(judged.x), np.asarray(judged.label)
    return source.labelled(count), (x[label >= 0], label[label >= 0])
