"""Scoring rows: from samples to the records of the table."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jepa_jax.data import LazyImages
from jepa_jax.density import Score, aggregate_views, base_log_density, default_batch_size, score_batches
from jepa_jax.encoder import Encoder

from .views import Views

# Why a row has no score, by the number in its record; of several views the larger counts.
REASONS = ("", "the Jacobian is not finite", "the embedding is not finite", "the image cannot be read")
UNREADABLE = 3

_aggregate = jax.jit(aggregate_views)


class Rows:
    """Consecutive rows of some images, read when they are asked for."""

    def __init__(self, images: LazyImages, start: int, stop: int) -> None:
        self._images, self._rows = images, range(start, stop)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._rows)

    def __getitem__(self, which: int | slice) -> np.ndarray:
        """One, or several."""
        if isinstance(which, int):
            return self._images[self._rows[which]]
        rows = self._rows[which]
        return self._images[rows.start : rows.stop]


@dataclass(frozen=True)
class Scorer:
    """All that a row's record depends on, and how it is computed.

    Attributes:
      encoder: its arrays are where the mesh wants them.
      xs: [N, ...], all samples; the images of a folder are not all in memory.
      eps, how: options of `score_batches`.
      views: (start, stop) -> the views of these samples, or None: the samples as they are.
      num_views: M.
      rank: how many singular values the column `top` sums, or 0.
      tangent: [N, D, d], or None.
      spectra: whether the records hold singular values.
      mesh: None for one device.
      batch_size: samples at once, over all devices; None takes what fits.
    """

    encoder: Encoder
    xs: np.ndarray | LazyImages
    eps: float
    how: dict[str, Any]
    views: Callable[[int, int], Views] | None
    num_views: int
    rank: int
    tangent: np.ndarray | None
    spectra: bool
    mesh: Mesh | None
    batch_size: int | None

    @property
    def record(self) -> np.dtype[Any]:
        """One row of the table as it is kept on disk: nats in float32, NaN where there is none."""
        fields: list[tuple[Any, ...]] = [("score", "<f4"), ("log_density", "<f4"), ("clipped", "<i4"), ("reason", "u1")]
        if self.num_views > 1:
            fields.append(("standard_error", "<f4"))
        if self.rank:
            fields.append(("top", "<f4"))
        if self.spectra:
            fields.append(("singular_values", "<f4", (min(self.encoder.dim, self._columns),)))
        return np.dtype(fields)

    @property
    def size(self) -> int:
        """Views at once, over all devices."""
        devices = 1 if self.mesh is None else self.mesh.shape["data"]
        share = -(-len(self.xs) * self.num_views // devices)
        platform = jax.default_backend() if self.mesh is None else self.mesh.devices.flat[0].platform
        return self.batch_size or devices * default_batch_size(share, self._columns, self.encoder.dim, platform)

    @property
    def unit(self) -> int:
        """The fewest rows that are a whole number of batches."""
        return math.lcm(self.size, self.num_views) // self.num_views

    def rows(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Score the samples start..stop.

        Returns:
          records, as they come; and with each some singular values [n, R], if the method gives them.
        """
        xs = Rows(self.xs, start, stop) if isinstance(self.xs, LazyImages) else self.xs[start:stop]
        batches = score_batches(
            self.encoder,
            xs if self.views is None else self.views(start, stop),
            self.eps,
            **self.how,
            tangent=None if self.tangent is None else self.tangent[start:stop],
            batch_size=self.size,
            values=self.how["method"] != "qr",  # they cost nothing else: for the picture, if for nothing more
            mesh=self.mesh,
        )
        rest, done = np.zeros(0, self.record), start
        for batch in batches:
            sigma = None if batch.singular_values is None else np.asarray(batch.singular_values)
            records = np.concatenate([rest, self._records(batch, sigma)])
            whole = len(records) // self.num_views * self.num_views  # a sample's views may lie in two batches
            if whole:
                rows = self._aggregate(records[:whole].reshape(-1, self.num_views))
                self._mark_unreadable(rows, done)
                done += len(rows)
                yield rows, sigma
            rest = records[whole:]

    @property
    def _columns(self) -> int:
        """D, or d."""
        return math.prod(self.xs.shape[1:]) if self.tangent is None else self.tangent.shape[-1]

    def _records(self, batch: Score, sigma: np.ndarray | None) -> np.ndarray:
        """The record of each view."""
        records = np.zeros(len(batch.score), self.record)
        base = base_log_density(batch.embedding, self.encoder.base)
        records["score"] = batch.score
        records["log_density"] = np.nan if base is None else batch.score + base
        records["clipped"] = batch.clipped
        if self.rank and sigma is not None:
            records["top"] = self._top(sigma)
        if self.spectra:
            records["singular_values"] = sigma
        finite = np.isfinite(records["score"])
        embedded = np.isfinite(np.asarray(batch.embedding)).all(axis=1)
        records["reason"] = np.where(embedded, np.where(finite, 0, 1), 2)
        self._empty(records)
        return records

    def _mark_unreadable(self, rows: np.ndarray, start: int) -> None:
        """Say of images that cannot be read, whatever the encoder makes of NaN, that they have no score."""
        if isinstance(self.xs, LazyImages):
            failed = [self.xs.failure(start + i) is not None for i in range(len(rows))]
            rows["reason"][failed] = UNREADABLE
            self._empty(rows)

    def _empty(self, records: np.ndarray) -> None:
        """Leave no number in a row without a score."""
        for name in {"score", "log_density", "top", "standard_error"} & set(records.dtype.names or ()):
            records[name][records["reason"] > 0] = np.nan

    def _top(self, sigma: np.ndarray) -> np.ndarray:
        """Sum of the largest log singular values [n], clipped, and null where they are null, as the score is."""
        values = sigma.shape[1]
        null = max(0, values - (self.encoder.dim - self.encoder.null_directions))
        kept = np.where(np.arange(values) < values - null, sigma, 0)[:, : self.rank]
        floor = 0.0 if self.how["drop_clipped"] else math.log(self.eps)
        return np.where(kept > self.eps, np.log(np.maximum(kept, self.eps)), floor).sum(axis=1)

    def _aggregate(self, views: np.ndarray) -> np.ndarray:
        """One record of the M of each sample, [n, M] -> [n]."""
        rows = views[:, 0].copy()
        if self.num_views == 1:
            return rows
        for name in {"score", "log_density", "top"} & set(rows.dtype.names or ()):
            rows[name], error = (np.asarray(a) for a in _aggregate(jnp.asarray(views[name])))
            if name == "score":
                rows["standard_error"] = error
        for name in ("clipped", "reason"):
            rows[name] = views[name].max(axis=1)
        return rows
