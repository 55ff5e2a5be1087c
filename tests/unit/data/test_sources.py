"""Array files that are wrong in every way, and the sources made of those that are right."""

import itertools
import os
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jepa_jax import config as cfg
from jepa_jax.data import Samples, Source, ignored_options, is_held_out, open_source, read_arrays, read_samples
from jepa_jax.data.in_memory import from_samples
from jepa_jax.errors import ConfigError
from jepa_jax.training.step import views_of
from jepa_jax.views import jittered
from jepa_jax.worlds import WORLDS


class Bomb:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def numbered(count: int, *shape: int) -> np.ndarray:
    """Rows that tell their own number: row i is all 10 i."""
    return np.broadcast_to(10 * np.arange(count).reshape(-1, *[1] * len(shape)), (count, *shape)).astype(np.float32)


GOOD = np.ones((4, 2))
NAN = np.array([[0, 1], [np.nan, 1], [1, 1], [np.inf, 1]])


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"y": GOOD}, "no array named x; it has y"),
        ({}, "no array named x; it has nothing"),
        ({"x": NAN}, "not finite in 2 rows, the first is row 1"),
        ({"x": np.ones((4, 8, 8, 3), np.int64)}, "int64 and the shape of images"),
        ({"x": np.ones((4, 8, 8, 3), bool)}, "bool and the shape of images"),
        ({"x": np.array([[1, 2], [3, 1e300]])}, "too large for float32 in 1 rows, the first is row 1"),
        ({"x": np.ones((4, 2)).astype(ml_dtypes.bfloat16)}, "unknown to NumPy"),
        ({"x": np.zeros((4, 2), [("a", "f4")])}, r"structured \(a\)"),
        ({"x": np.full((4, 2), "2020-01-01", "M8[D]")}, "datetime64"),
        ({"x": GOOD, "label": np.ones(4, complex)}, "label has dtype complex128"),
        ({"x": np.ones((4, 2), complex)}, "complex128"),
        ({"x": np.full((4, 2), "a")}, "dtype"),
        ({"x": np.ones(4)}, "N, ..."),
        ({"x": np.float64(1)}, "N, ..."),
        ({"x": np.ones((0, 2))}, "empty"),
        ({"x": np.ones((4, 0))}, "empty"),
        ({"x": GOOD, "log_density": np.ones(3)}, r"log_density has shape \[3\].*\[4\]"),
        ({"x": GOOD, "log_density": np.float64(1)}, "log_density"),
        ({"x": GOOD, "log_density": np.full(4, -np.inf)}, "log_density is not finite"),
        ({"x": GOOD, "pair": np.ones((4, 3))}, r"pair has shape \[4, 3\].*\[4, 2\]"),
        ({"x": GOOD, "pair": NAN}, "pair is not finite"),
        ({"x": GOOD, "label": np.ones((4, 2))}, "label has shape"),
    ],
)
def test_wrong_arrays(arrays: dict[str, Any], says: str, rows: Callable[..., str]) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        read_arrays(Path(rows(**arrays)))
    assert "\n" not in str(caught.value)
    assert "rows.npz" in str(caught.value)


def huge(path: Path) -> None:
    """A header that promises more than there is memory for."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**15, 2)})


def flipped(path: Path) -> None:
    """A compressed archive with damage in the middle of its data."""
    np.savez_compressed(path, x=np.random.default_rng(0).standard_normal((100, 2)))
    content = bytearray(path.read_bytes())
    content[200:260] = b"\xff" * 60
    path.write_bytes(content)


def truncated(path: Path) -> None:
    np.savez(path, x=np.ones((100, 2)))
    path.write_bytes(path.read_bytes()[:700])


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("missing.npy", lambda path: None),
        ("missing.npz", lambda path: None),
        ("folder.npy", lambda path: path.mkdir()),
        ("pipe.npy", os.mkfifo),
        ("null.npy", lambda path: path.symlink_to("/dev/null")),
        ("nowhere.npy", lambda path: path.symlink_to("nothing")),
        ("empty.npy", lambda path: path.write_bytes(b"")),
        ("empty.npz", lambda path: path.write_bytes(b"")),
        ("text.npy", lambda path: path.write_text("1, 2, 3\n" * 100)),
        ("cut.npz", truncated),
        ("cut.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00")),
        ("short.npy", lambda path: (np.save(path, np.ones((9, 2))), path.write_bytes(path.read_bytes()[:-8]))),
        ("header.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x10\x00{'descr': nonsen")),
        ("flipped.npz", flipped),
        ("huge.npy", huge),
        ("ragged.npy", lambda path: np.save(path, np.array([[1], [1, 2]], object), allow_pickle=True)),
        ("ragged.npz", lambda path: np.savez(path, x=np.array([[1], [1, 2]], object))),
    ],
)
def test_unreadable_files(name: str, write: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(ConfigError) as caught:
        read_arrays(path)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)
    assert str(caught.value).count("NumPy file") <= 1


@pytest.mark.parametrize("kind", ["object.npy", "object.npz", "pickle.npy", "pickle.npz"])
def test_a_pickle_is_never_run(kind: str, tmp_path: Path) -> None:
    path, crater = tmp_path / kind, tmp_path / "crater"
    array = np.empty(2, object)
    array[:] = Bomb(crater)
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps(Bomb(crater)))
    elif kind.endswith("npy"):
        np.save(path, array, allow_pickle=True)
    else:
        np.savez(path, x=array)
    with pytest.raises(ConfigError):
        read_arrays(path)
    assert not crater.exists()
    # It would go off if someone did unpickle it.
    pickle.loads(pickle.dumps(Bomb(crater)))
    assert crater.exists()


def test_good_arrays_become_float32(rows: Callable[..., str], tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 2))
    label = np.array(list("abcde"))
    samples = read_arrays(Path(rows(x=x, log_density=x[:, 0], pair=x + 1, label=label)))
    assert samples.log_density is not None
    assert samples.pair is not None
    assert samples.x.dtype == samples.log_density.dtype == samples.pair.dtype == np.float32
    np.testing.assert_allclose(samples.x, x, rtol=1e-6)
    np.testing.assert_allclose(samples.log_density, x[:, 0], rtol=1e-6)
    np.testing.assert_allclose(samples.pair, x + 1, rtol=1e-6)
    assert (samples.label == label).all()
    np.save(tmp_path / "x.npy", x)
    alone = read_arrays(tmp_path / "x.npy")
    assert (alone.x == samples.x).all()
    assert alone.log_density is alone.pair is alone.label is None


def test_bytes_are_scaled_to_one(rows: Callable[..., str]) -> None:
    x = np.array([[0, 51], [102, 255]], np.uint8)
    samples = read_arrays(Path(rows(x=x)))
    np.testing.assert_allclose(samples.x, [[0, 0.2], [0.4, 1]], rtol=1e-6)
    assert samples.x.dtype == np.float32


def test_digits() -> None:
    samples = read_samples("digits", None)
    assert samples.label is not None
    assert samples.x.shape == (1797, 8, 8, 1)
    assert (samples.x.min(), samples.x.max()) == (0, 1)
    assert set(samples.label) == set(range(10))
    assert open_source(cfg.Data("digits")).shape == (8, 8, 1)


@pytest.mark.parametrize("limit", [None, 2, 100])
def test_limit_takes_the_first_rows(limit: int | None, rows: Callable[..., str]) -> None:
    samples = read_samples(rows(x=numbered(5, 2), log_density=np.arange(5.0)), limit)
    assert samples.log_density is not None
    kept = min(5, limit or 5)
    np.testing.assert_array_equal(samples.x, numbered(kept, 2))
    np.testing.assert_array_equal(samples.log_density, np.arange(kept))
    assert samples.pair is None


def test_samples_of_a_world_come_with_its_density() -> None:
    samples = read_samples("rings", 7)
    np.testing.assert_allclose(samples.log_density, jax.vmap(WORLDS["rings"]().log_density)(samples.x), rtol=1e-5)
    assert len(read_samples("rings", 9).x) == 9


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (cfg.Data("mixture2d"), "mixture_2d"),
        (cfg.Data("chekerboard"), "did you mean checkerboard"),
        (cfg.Data("zzz"), "known: banana.*sprites"),
        (cfg.Data("tfds:mnist"), "not prepared"),
        (cfg.Data("."), "set `data.size`, to which all are resized"),
        (cfg.Data("moons", rho=0.5), "`data.rho"),
        (cfg.Data("digits", rho=0.5), "`data.rho"),
        (cfg.Data("missing.npy"), "does not exist"),
    ],
)
def test_unknown_data(data: cfg.Data, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        open_source(data)


def pair(source: Source, key: jax.Array) -> jax.Array:
    """Two views [2, B, ...] of a batch, as training makes them."""
    return views_of(cfg.Config(), source)(source.arrays, key)[0]


def test_options_that_the_rows_do_not_have(rows: Callable[..., str]) -> None:
    path = rows(x=numbered(6, 2))
    with pytest.raises(ConfigError, match=r"`data\.shift` is for images"):
        open_source(cfg.Data(path, shift=1))
    with pytest.raises(ConfigError, match="at least 2"):
        open_source(cfg.Data(path, holdout=0.999))


@pytest.mark.parametrize("name", ["mixture_2d", "coupling_2d", "sprites"])
def test_a_world_is_a_source(name: str, key: jax.Array) -> None:
    source = open_source(cfg.Data(name, batch_size=16, noise=0.25))
    assert source.world is not None
    assert (source.noise, source.world.noise) == (0.25, 0.25)
    make = jax.jit(partial(pair, source))
    views = make(key)
    assert views.shape == (2, 16, *source.shape)
    assert (make(key) == views).all()
    assert (make(jax.random.key(1)) != views).any()
    probe = source.probe(9)
    assert probe.x.shape == (9, *source.shape)
    assert probe.log_density is not None
    assert probe.log_density.shape == (9,)
    assert (probe.log_density_smoothed is None) == (name != "mixture_2d")
    assert (probe.tangent is None) == (name != "sprites")
    assert (probe.x == source.probe(9).x).all()


def test_vectors_are_standardised_per_number_and_images_by_one(rows: Callable[..., str]) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 3)) * [1, 5, 0] + [0, 7, 3]
    source = open_source(cfg.Data(rows(x=x)))
    np.testing.assert_allclose(source.mean, x.mean(0), atol=1e-4)
    np.testing.assert_allclose(source.scale[:2], x.std(0)[:2], rtol=1e-4)
    assert source.scale[2] == 1  # never varies, and is not blown up
    assert source.noise.shape == (500,)  # each row has its own, in deviations
    assert open_source(cfg.Data(rows(x=x), noise=0.3)).noise == 0.3
    image = rng.uniform(2, 3, (50, 4, 4, 1))
    source = open_source(cfg.Data(rows(x=image)))
    assert jnp.shape(source.mean) == jnp.shape(source.scale) == ()
    assert float(source.mean) == pytest.approx(image.mean(), rel=1e-4)
    assert float(source.scale) == pytest.approx(image.std(), rel=1e-4)


def test_pairs_are_read_from_the_file(rows: Callable[..., str], key: jax.Array) -> None:
    x = numbered(8, 2)
    source = open_source(cfg.Data(rows(x=x, pair=x + 1), batch_size=5))
    one, two = np.asarray(pair(source, key))
    assert one.shape == (5, 2)
    np.testing.assert_array_equal(two, one + 1)
    assert len(set(one[:, 0])) == 5  # no row twice
    assert set(one[:, 0]) <= set(x[:, 0])


def test_rows_without_pairs_are_jittered(rows: Callable[..., str], key: jax.Array) -> None:
    source = open_source(cfg.Data(rows(x=numbered(400, 5)), batch_size=400, noise=0.5))
    one, two = np.asarray(pair(source, key))
    number = one.mean(1, keepdims=True).round(-1)
    e1, e2 = one - number, two - number
    assert set(number.ravel()) == set(10.0 * np.arange(400))
    assert e1.std() == pytest.approx(0.5, rel=0.1)
    assert e2.std() == pytest.approx(0.5, rel=0.1)
    assert abs(np.corrcoef(e1.ravel(), e2.ravel())[0, 1]) < 0.1
    again = np.asarray(pair(source, key))
    assert (again == [one, two]).all()
    assert (np.asarray(pair(source, jax.random.key(1))) != [one, two]).any()


def test_a_batch_is_no_larger_than_the_rows(rows: Callable[..., str], key: jax.Array) -> None:
    source = open_source(cfg.Data(rows(x=numbered(6, 2)), batch_size=100))
    assert source.batch_size == 6
    assert pair(source, key).shape == (2, 6, 2)
    assert open_source(cfg.Data(rows(x=numbered(6, 2)), batch_size=4)).batch_size == 4


@pytest.mark.parametrize("holdout", [0.0, 0.3, 0.5])
def test_held_out_rows_are_probed_and_never_trained_on(holdout: float, rows: Callable[..., str]) -> None:
    x = numbered(100, 2)
    source = open_source(cfg.Data(rows(x=x, pair=x + 1, log_density=x[:, 0]), holdout=holdout))
    trained, partners = (set(np.asarray(source.arrays[name])[:, 0].tolist()) for name in ("x", "pair"))
    probe = source.probe(1000)
    probed = set(np.asarray(probe.x)[:, 0].tolist())
    assert partners == {row + 1 for row in trained}
    assert trained | probed == set(x[:, 0].tolist())
    assert bool(trained & probed) == (holdout == 0)
    assert abs(len(trained) - 100 * (1 - holdout)) < 20
    np.testing.assert_array_equal(probe.log_density, np.asarray(probe.x)[:, 0])
    assert source.probe(7).x.shape == (7, 2)
    held = {10.0 * i for i in np.flatnonzero(is_held_out(100, holdout))}
    assert not held & trained


def test_held_out_rows_do_not_depend_on_how_many_are_read() -> None:
    assert (is_held_out(10, 0.5) == is_held_out(20, 0.5)[:10]).all()
    assert not is_held_out(1000, 0).any()
    assert is_held_out(10_000, 0.3).mean() == pytest.approx(0.3, abs=0.02)
    assert (is_held_out(1000, 0.5) | ~is_held_out(1000, 0.3)).all()  # more holds out more


@pytest.mark.parametrize("shift", [1, 2])
def test_shifted_views_are_crops_of_the_padded_image(shift: int) -> None:
    x = np.random.default_rng(0).standard_normal((4, 5, 2)).astype(np.float32)
    padded = np.pad(x, ((shift, shift), (shift, shift), (0, 0)), mode="edge")
    places = list(itertools.product(range(2 * shift + 1), repeat=2))
    crops = np.stack([padded[i : i + 4, j : j + 5] for i, j in places])
    keys = jax.random.split(jax.random.key(0), 60 * len(places))
    views = np.asarray(jax.jit(jax.vmap(lambda k: jittered(k, jnp.asarray(x), 0.0, shift)))(keys))
    found = [(crops == view).all((1, 2, 3)).argmax() for view in views]
    assert all((crops[i] == view).all() for i, view in zip(found, views, strict=True))
    counts = np.bincount(found, minlength=len(places))
    assert counts.min() > 25  # of 60 on average: every place, about equally often
    assert counts.max() < 110


def test_noise_may_differ_from_number_to_number(key: jax.Array) -> None:
    noise = jnp.asarray([0.0, 1.0, 3.0])
    e = jax.vmap(lambda k: jittered(k, jnp.zeros(3), noise, 0))(jax.random.split(key, 4000))
    np.testing.assert_allclose(e.std(0), noise, rtol=0.05)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": "moons", "holdout": 0.5, "shift": 1}, "`data.shift`, `data.holdout` has no effect on moons"),
        ({"source": "moons", "stream": True}, "`data.stream`"),
        ({"source": "moons", "stream": False, "noise": 0.1}, None),
        ({"source": "digits", "holdout": 0.5, "shift": 1}, None),
        ({"source": "digits", "size": 8}, "`data.size` has no effect on digits: its samples are held in memory"),
        ({"source": "digits", "stream": True, "size": 8, "channels": 1}, None),
    ],
)
def test_options_without_effect_are_named(options: dict[str, Any], says: str | None) -> None:
    data = cfg.Data(**options)
    found = ignored_options(data, open_source(data))
    assert (found is None) if says is None else (found is not None and says in found)


def test_what_lies_beside_x_is_read_and_checked(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((6, 3)).astype(np.float32)
    x[:, 2] = [0, 1, 2, 1, 0, 2]
    beside = {
        "condition": draw.standard_normal((6, 2)),
        "tangent": np.linalg.qr(draw.standard_normal((6, 3, 2)))[0],
        "held_out": np.arange(6) % 2 == 1,
        "categories": np.array([0, 0, 3]),
    }
    path = tmp_path / "x.npz"

    def read(**changes: np.ndarray) -> Samples:
        np.savez(path, x=x, **(beside | changes))
        return read_arrays(path)

    samples = read()
    np.testing.assert_allclose(samples.condition, beside["condition"], rtol=1e-6)
    assert samples.tangent is not None
    assert samples.held_out is not None
    assert samples.categories == (0, 0, 3)
    source = from_samples(samples, cfg.Data("x", batch_size=2))
    np.testing.assert_allclose(np.asarray(source.arrays["x"]), x[::2])
    assert source.held_out
    np.testing.assert_allclose(source.probe(9).tangent, samples.tangent[1::2])
    for name, array, says in (
        ("condition", np.zeros((5, 2)), r"condition has shape \[5, 2\]; with this x it must be \[6, C\]"),
        ("tangent", np.zeros((6, 2, 2)), r"must be \[6, 3, d\]"),
        ("tangent", np.ones((6, 3, 2)), "orthonormal"),
        ("held_out", np.arange(6), "save booleans"),
        ("categories", np.array([0, 0, 2]), "column 2 of x should have categories as whole numbers from 0 to 1"),
        ("categories", np.array([4, 0, 0]), "column 0"),
        ("categories", np.array([0, 3]), "each column"),
    ):
        with pytest.raises(ConfigError, match=says) as caught:
            read(**{name: array})
        assert "\n" not in str(caught.value)
