"""Samples in memory as a source: batches are drawn from them on the device."""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.data.columns import continuous, local_noise, nearest_rows
from jepa_jax.data.dataset import is_held_out
from jepa_jax.data.samples import Samples
from jepa_jax.data.source import (
    NOISE_FRACTION,
    PROBE_SEED,
    Probe,
    Source,
    check_values,
    quantiles_of,
    refuse_options,
    standardise,
)
from jepa_jax.errors import ConfigError
from jepa_jax.views import sample_keys

ROWS_COMPARED = 1000  # samples whose rows are compared
UNEQUAL = 100.0  # ratio of scales above which one deviation does not suit all rows
DESCRIPTIONS = (
    "categories",
    "columns",
    "levels",
    "offset",
    "row_features",
)  # what samples and their source say in one way


def from_samples(samples: Samples, data: cfg.Data) -> Source:
    """Make a source of samples in memory.

    Raises:
      ConfigError: If an option does not apply to them, or they are too few to train on.
    """
    shape = samples.x.shape[1:]
    refuse_options(data, shape)
    check_values(np.asarray(samples.x), data.source)
    digest = _digest(samples)
    held, named = _held_out(samples, data)
    # Noise of one width cannot fit rows that are close in one place and far apart in another. Only if it was asked for
    # are repeated values spread, because only a density in nats has no upper limit at them.
    paired = samples.pair is not None or bool(data.neighbours)
    local = data.noise == "local" or (data.noise is None and len(shape) == 1 and not paired)
    if data.noise == "local":
        samples, held, notes, degenerate = _as_table(samples, held)
    else:
        notes, degenerate = (), False
    _check_counts(held, data)
    columns = {"x": samples.x, "pair": samples.pair, "condition": samples.condition}
    arrays = {name: jnp.asarray(column[~held]) for name, column in columns.items() if column is not None}
    batch_size = min(data.batch_size, len(arrays["x"]))
    mean, scale = standardise(arrays["x"], samples.categories)
    # Another category is another sample, not a view of this one.
    spread = jnp.where(jnp.asarray(samples.categories) > 0, 0.0, scale) if samples.categories else scale
    noise: Any = _fixed_noise(samples, data, spread)
    if local:
        arrays["noise"] = noise = jnp.asarray(local_noise(np.asarray(arrays["x"]), mean, scale, data.noise_factor))
    if data.neighbours:
        near = _nearest(np.asarray(arrays["x"]), mean, scale, samples, data)
        arrays["near"], notes = jnp.asarray(near), (*notes, *_about_partners(np.asarray(arrays["x"]), near))

    described: dict[str, Any] = {name: getattr(samples, name) for name in DESCRIPTIONS}
    probe, labelled = _fixed_sets(samples, held)
    return Source(
        shape,
        noise,
        batch_size,
        mean,
        scale,
        arrays,
        _drawing(batch_size, spread),
        probe,
        labelled=labelled,
        quantiles=quantiles_of(arrays["x"]),
        held_out=bool(held.any()),
        notes=(*samples.notes, *named, *notes, *unequal_rows(arrays["x"])),
        degenerate=degenerate,
        digest=digest,
        known=lambda n: jnp.asarray(samples.x[_choice(~held, n)]),
        conditions=0 if samples.condition is None else samples.condition.shape[1],
        **described,
    )


def _nearest(x: np.ndarray, mean: Array, scale: Array, samples: Samples, data: cfg.Data) -> np.ndarray:
    """Return the numbers of the nearest samples of each sample, [N, neighbours].

    Raises:
      ConfigError: If the samples have partners already, or no distances, or are too few.
    """
    has = [name for name in ("pair", "condition") if getattr(samples, name) is not None]
    if has:
        raise ConfigError(
            f"`data.neighbours`: {data.source} has its own {has[0]} of each sample; leave out one of them"
        )
    if any(samples.categories):
        raise ConfigError(f"`data.neighbours` needs distances, and {data.source} has columns of categories")
    if data.neighbours >= len(x):
        raise ConfigError(
            f"`data.neighbours` is {data.neighbours}, but {len(x)} samples are trained on; take at most {len(x) - 1}"
        )
    standard = (x - np.asarray(mean)) / np.asarray(scale)
    return nearest_rows(standard.reshape(len(x), -1), data.neighbours)


def _about_partners(x: np.ndarray, near: np.ndarray) -> tuple[str, ...]:
    """Return the sentences about samples [N, ...] whose partners are those of these numbers, [N, neighbours]."""
    flat = x.reshape(len(x), -1)
    copies = int(sum((flat[column] == flat).all(axis=1).sum() for column in near.T))
    often = np.bincount(near.reshape(-1), minlength=len(x)).max() / near.shape[1]
    notes = (
        f"second views are near samples, of which one is taken {often:.1f} times as often as a sample is, so that a "
        "density that is read from this run leans towards such samples",
    )
    if not copies:
        return notes
    share = copies / near.size
    return (*notes, f"{share:.1%} of the near samples are copies, from which nothing is learned: drop copies first")


def _drawing(batch_size: int, spread: Array) -> Callable[[Any, Array], tuple[dict[str, Array], Array]]:
    """Return the `draw` of a source, where the noise of each row is in deviations of the numbers, `spread`."""

    def draw(arrays: Any, key: Array) -> tuple[dict[str, Array], Array]:
        pick, view = jax.random.split(key)
        index = jax.random.choice(pick, len(arrays["x"]), (batch_size,), replace=False)
        examples = {name: column[index] for name, column in arrays.items()}
        if "near" in examples:
            examples["pair"] = arrays["x"][_one_of(jax.random.fold_in(pick, 1), examples.pop("near"))]
        if "noise" in examples:
            examples["noise"] = examples["noise"][:, None] * spread[None]
        return examples, sample_keys(view, index)

    return draw


def _one_of(key: Array, near: Array) -> Array:
    """Return one of the numbers in each row of [B, neighbours], at random, [B]."""
    which = jax.random.randint(key, (len(near), 1), 0, near.shape[1])
    return jnp.take_along_axis(near, which, axis=1)[:, 0]


def unequal_rows(x: Array) -> tuple[str, ...]:
    """Return a note if rows of samples [N, H, W, C], such as sensors, have units too different for one deviation."""
    if x.ndim != 4 or x.dtype == jnp.uint8:
        return ()
    rows = np.moveaxis(np.asarray(x[:ROWS_COMPARED], np.float64), 1, 0).reshape(x.shape[1], -1)
    # By medians, because the border of a picture is the same in nearly all of them.
    size = np.median(np.abs(rows - np.median(rows, axis=1, keepdims=True)), axis=1)
    ratio = size[size > 0].max(initial=0) / size[size > 0].min(initial=np.inf)
    if ratio < UNEQUAL:
        return ()
    return (
        f"rows of the samples differ in scale by a factor of {ratio:.0e}, and all are divided by one deviation, so "
        "that the smaller ones are hardly seen; divide each row by its own deviation",
    )


def _held_out(samples: Samples, data: cfg.Data) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return which rows are kept out of training, [N], those that the data name or a random share, and notes."""
    if samples.held_out is None:
        return is_held_out(len(samples.x), data.holdout), ()
    note = "the data name the rows that are held out, so `data.holdout` has no effect"
    return samples.held_out, (note,) if data.holdout else ()


def _fixed_noise(samples: Samples, data: cfg.Data, spread: Array) -> Any:
    """Return the noise of all rows alike, for numbers of these deviations, which are 0 for categories."""
    if data.noise is None:
        return 0.0 if samples.pair is not None or data.neighbours else NOISE_FRACTION * spread
    if data.noise == "local" or not samples.categories:
        return data.noise
    return data.noise * (spread > 0).astype(jnp.float32)


def _digest(samples: Samples) -> bytes:
    """Return the SHA-256 of the samples and of what belongs to them."""
    found = hashlib.sha256()
    for column in (samples.x, samples.pair, samples.condition, samples.held_out):
        if column is not None:
            found.update(np.ascontiguousarray(column).data)
    return found.digest()


def _check_counts(held: np.ndarray, data: cfg.Data) -> None:
    """Check that there are rows to train on, and to judge by if some are to be held out."""
    if data.holdout and not held.any():
        raise ConfigError(
            f"{data.source}: a holdout of {data.holdout} of {len(held)} rows leaves none to judge the density by; "
            "raise `data.holdout`, or collect more rows"
        )
    if (~held).sum() < 2:
        raise ConfigError(f"{data.source} leaves {(~held).sum()} rows to train on; training needs at least 2")


def _as_table(samples: Samples, held: np.ndarray) -> tuple[Samples, np.ndarray, tuple[str, ...], bool]:
    """Return rows with continuous columns, which of them are held out, notes on them, and whether they are degenerate.

    Raises:
      ConfigError: If the samples are no vectors.
    """
    shape = samples.x.shape[1:]
    if len(shape) != 1:
        raise ConfigError(
            f"`data.noise` local is for vectors, and {samples.name} has samples of shape {list(shape)}; give a number"
        )
    if any(samples.categories):
        raise ConfigError(
            f"`data.noise` local is for numbers, and {samples.name} has columns of categories, which have no density; "
            "leave it out, or give a number"
        )
    table = continuous(np.asarray(samples.x), names=samples.columns)
    notes = table.notes
    if samples.pair is not None:
        notes += ("the pairs are not used, because a density needs only the rows; `data.noise` 0 compares them",)
    return dataclasses.replace(samples, x=table.x, pair=None), held[table.first], notes, table.degenerate


def _fixed_sets(samples: Samples, held: np.ndarray) -> tuple[Any, Any]:
    """Return `probe` and `labelled` of a source: fixed choices of held-out rows and of rows for training."""
    classes = samples.numbered_label

    def probe(n: int) -> Probe:
        rows = _choice(held if held.any() else ~held, n)
        truth = None if samples.log_density is None else jnp.asarray(samples.log_density[rows])
        label = None if classes is None else jnp.asarray(classes[rows])
        tangent = None if samples.tangent is None else jnp.asarray(samples.tangent[rows])
        return Probe(jnp.asarray(samples.x[rows]), truth, tangent=tangent, label=label)

    def labelled(n: int) -> tuple[np.ndarray, np.ndarray]:
        assert classes is not None
        rows = _choice(~held & (classes >= 0), n)
        return np.asarray(samples.x[rows]), classes[rows]

    # Without held-out rows the probes would be evaluated on the samples that they were fitted on.
    judged = samples.classes is not None and held.any()
    return probe, labelled if judged else None


def _choice(of: np.ndarray, n: int) -> np.ndarray:
    """Return at most n of the marked rows: at random, because the file may be sorted, but the same in every run."""
    return np.sort(np.random.default_rng(PROBE_SEED).permutation(np.flatnonzero(of))[:n])
