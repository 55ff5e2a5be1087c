"""Spoken vowels of nine people, as spectrograms."""

import numpy as np

from jepa_jax.data.installed.locate import files, reading
from jepa_jax.data.samples import Samples

BINS, FRAMES, CEPSTRA = 24, 24, 12


def read_vowels() -> Samples:
    """Return the JapaneseVowels of aeon as log-spectrograms [640, 24, 24, 1], with the speaker as label.

    Kudo, Toyama & Shimbo, "Multidimensional curve classification using passing-through regions", 1999: twelve cepstra
    of linear prediction over 7 to 29 frames. log|H(w)| = sum_n c_n cos(n w) at 24 frequencies, resampled linearly to 24
    frames. The original test set is held out.

    Raises:
      ConfigError: If aeon is not installed, or a file is damaged.
    """
    x, label, held_out = [], [], []
    for part in ("TRAIN", "TEST"):
        (path,) = files("vowels", "aeon", f"datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts")
        with reading("vowels", path):
            text = path.read_text()
            for line in text[text.lower().index("@data") :].splitlines()[1:]:
                *series, speaker = line.strip().split(":")
                cepstra = np.array([[float(n) for n in one.split(",")] for one in series])
                if cepstra.shape[0] != CEPSTRA:
                    raise ValueError(f"an utterance has {cepstra.shape[0]} cepstra instead of {CEPSTRA}")
                if not np.isfinite(cepstra).all():
                    raise ValueError("a cepstrum is not finite")
                x.append(spectrogram(cepstra))
                label.append(int(speaker))
                held_out.append(part == "TEST")
    return Samples(np.stack(x), label=np.array(label), held_out=np.array(held_out), name="vowels")


def spectrogram(cepstra: np.ndarray) -> np.ndarray:
    """Return the log-spectrogram [24, 24, 1] of cepstra [n, frames], n >= 1."""
    order, place = np.arange(1, len(cepstra) + 1), np.linspace(0, cepstra.shape[1] - 1, FRAMES)
    spectrum = np.cos(np.outer((np.arange(BINS) + 0.5) * np.pi / BINS, order)) @ cepstra
    resampled = [np.interp(place, np.arange(cepstra.shape[1]), row) for row in spectrum]
    return np.array(resampled, np.float32)[:, :, None]
