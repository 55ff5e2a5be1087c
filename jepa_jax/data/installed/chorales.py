"""Chorales of four voices, as mixes of three voices and the fourth."""

import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from jepa_jax.data.installed.locate import files, reading
from jepa_jax.data.samples import Samples
from jepa_jax.errors import ConfigError

LOWEST, BINS, FRAMES, VOICES = 36, 72, 16, 4  # MIDI number of the first of the semitones; eighths of a window
HARMONICS = [(round(12 * np.log2(h)), h**-2.0) for h in range(1, 6)]  # semitones above the tone, and power
STEPS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def read_chorales() -> Samples:
    """Return Bach's chorales in music21 as pairs of log-spectrograms [72, 16, 1]: three voices, and the fourth.

    Each row is a window of two bars of four quarters, in eighths. A tone has the power of five harmonics, powers of
    voices add, and x is log(1 + 10 power). `condition` says by one of four numbers which voice the partner is; `label`
    is that voice, soprano to bass. The windows of about a fifth of the pieces are held out. A window that has occurred
    before is left out: lines are repeated, and some pieces share theirs, so that others would be trained on, too.

    Raises:
      ConfigError: If music21 is not installed, or a file is damaged.
    """
    windows: dict[bytes, tuple[np.ndarray, int]] = {}
    for number, path in enumerate(files("chorales", "music21", "corpus/bach/*.mxl")):
        with reading("chorales", path):
            tones = voices(path)
        if tones is not None:
            power = np.stack([spectrum(voice) for voice in tones])  # [voices, bins, eighths]
            for start in range(0, power.shape[2] - FRAMES + 1, FRAMES):
                window = power[:, :, start : start + FRAMES]
                windows.setdefault(window.tobytes(), (window, number))
    if not windows:
        raise ConfigError("chorales: no piece of the installed music21 has four voices; install it again")
    each, piece = (np.stack(column) for column in zip(*windows.values(), strict=True))
    test = np.random.default_rng(0).random(piece.max() + 1) < 0.22
    rest = each.sum(axis=1, keepdims=True) - each
    x, pair = (np.log1p(10 * a).reshape(-1, BINS, FRAMES, 1).astype(np.float32) for a in (rest, each))
    voice = np.tile(np.arange(VOICES), len(each))
    condition = np.eye(VOICES, dtype=np.float32)[voice]
    held_out = np.repeat(test[piece], VOICES)
    return Samples(x, pair=pair, condition=condition, label=voice, held_out=held_out, name="chorales")


def voices(path: Path) -> np.ndarray | None:
    """Return the MIDI numbers of four voices in eighths, [4, n], 0 for a rest; None if a piece has other parts."""
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith("xml") and not n.startswith("META-INF"))
        parts = ElementTree.fromstring(archive.read(name)).findall("part")
    if len(parts) != VOICES:
        return None
    found = [_tones(part) for part in parts]
    length = max(map(len, found))
    return np.stack([np.pad(voice, (0, length - len(voice))) for voice in found])


def _tones(part: ElementTree.Element) -> np.ndarray:
    """Return the MIDI number that sounds in the middle of each eighth of a part, 0 for a rest."""
    divisions, time, tones = 1.0, 0.0, []  # time in quarters
    for element in part.iter():
        if element.tag == "divisions":
            divisions = float(element.text or 1)
        elif element.tag in ("backup", "forward"):
            time += float(element.findtext("duration", "0")) / divisions * (1 if element.tag == "forward" else -1)
        elif element.tag == "note" and element.find("grace") is None:
            length = float(element.findtext("duration", "0")) / divisions
            start = time if element.find("chord") is None else time - length
            pitch = element.find("pitch")
            if pitch is not None:
                alter, octave = float(pitch.findtext("alter", "0")), int(pitch.findtext("octave", "4"))
                tones.append((start, length, 12 * (octave + 1) + STEPS[pitch.findtext("step", "C")] + round(alter)))
            time = start + length
    eighths = np.zeros(int(np.ceil(2 * time - 1e-6)), int)
    for start, length, tone in tones:
        eighths[max(0, int(np.ceil(2 * start - 0.5))) : int(np.ceil(2 * (start + length) - 0.5))] = tone
    return eighths


def spectrum(tones: np.ndarray) -> np.ndarray:
    """Return the power [72, n] of tones [n], as MIDI numbers, with five harmonics."""
    power = np.zeros((BINS, len(tones)))
    (when,) = np.nonzero(tones)
    for above, strength in HARMONICS:
        bins = tones[when] - LOWEST + above
        inside = (bins >= 0) & (bins < BINS)
        power[bins[inside], when[inside]] += strength
    return power
