"""Scoring of rows: from samples to the records of the table."""

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
from jepa_jax.evaluate import MeasuredLaw, mixture_log_density, spread

from .views import Views

# Reasons why a row has no score, by the code in its record; the largest code of several views counts.
REASONS = ("", "the Jacobian is not finite", "the embedding is not finite", "the image cannot be read", "")
UNREADABLE_CODE = 3
PREDICTED_CODE = 4  # nothing is wrong: the score is predicted

_aggregate = jax.jit(aggregate_views)
_log_densities = jax.jit(lambda encoder, xs: jax.vmap(encoder.member_log_densities)(xs))


class Rows:
    """Consecutive rows of images that are read on demand."""

    def __init__(self, images: LazyImages, start: int, stop: int) -> None:
        self._images, self._rows = images, range(start, stop)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def __getitem__(self, which: int | slice) -> np.ndarray:
        """Return one row [...] or consecutive rows [n, ...]."""
        if isinstance(which, int):
            return self._images[self._rows[which]]
        rows = self._rows[which]
        return self._images[rows.start : rows.stop]


@dataclass(frozen=True)
class Scorer:
    """Computation of the records of rows, with all values on which they depend.

    Attributes:
      encoder: Encoder, whose arrays are placed as the mesh requires.
      xs: All samples [N, ...]; the images of a folder are read on demand.
      eps: Threshold of the singular values.
      how: Other options of `score_batches`.
      views: (start, stop) -> the views of these samples; None scores the samples themselves.
      num_views: M, the number of views per sample.
      rank: Number of singular values in the sum `top`, or 0.
      tangent: Bases of the tangent spaces [N, D, d], or None.
      spectra: Whether the records contain singular values.
      mesh: Mesh of the devices; None for one device.
      batch_size: Views that are computed at once, over all devices; None computes as many as fit.
      law: Measured law of the embeddings; None for the base distribution of the encoder.
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
    law: MeasuredLaw | None = None

    @property
    def record(self) -> np.dtype[Any]:
        """Data type of a row of the table on disk: scores in nats as float32, NaN if a row has none."""
        fields: list[tuple[Any, ...]] = [("score", "<f4"), ("log_density", "<f4"), ("clipped", "<i4"), ("reason", "u1")]
        if self.num_views > 1:
            fields.append(("standard_error", "<f4"))
        if self.rank:
            fields.append(("top", "<f4"))
        if self._mixture:
            fields.append(("spread", "<f4"))
        if self.spectra:
            fields.append(("singular_values", "<f4", (min(self.encoder.dim, self._columns),)))
        return np.dtype(fields)

    @property
    def size(self) -> int:
        """Number of views that are computed at once, over all devices."""
        devices = 1 if self.mesh is None else self.mesh.shape["data"]
        share = -(-len(self.xs) * self.num_views // devices)
        platform = jax.default_backend() if self.mesh is None else self.mesh.devices.flat[0].platform
        return self.batch_size or devices * default_batch_size(share, self._columns, self.encoder.dim, platform)

    @property
    def unit(self) -> int:
        """Smallest number of rows that is a whole number of batches."""
        return math.lcm(self.size, self.num_views) // self.num_views

    def rows(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Score the samples start..stop.

        Args:
          start: First row.
          stop: One past the last row.

        Returns:
          An iterator over records [n], each with singular values [n', R] of the views of its batch, or None if the
          method gives none.
        """
        xs = Rows(self.xs, start, stop) if isinstance(self.xs, LazyImages) else self.xs[start:stop]
        batches = score_batches(
            self.encoder,
            xs if self.views is None else self.views(start, stop),
            self.eps,
            **self.how,
            tangent=None if self.tangent is None else self.tangent[start:stop],
            batch_size=self.size,
            values=self.how["method"] != "qr",  # with other methods they are free, and the picture shows them
            mesh=self.mesh,
        )
        rest, done = np.zeros(0, self.record), start
        for batch in batches:
            sigma = None if batch.singular_values is None else np.asarray(batch.singular_values)
            fresh = self._records(batch, sigma)
            if self.encoder.normalised and self.views is None and self.tangent is None:
                first = done + len(rest)
                self._fill_density(fresh, self.xs[first : first + len(fresh)])
            records = np.concatenate([rest, fresh])
            whole = len(records) // self.num_views * self.num_views  # a sample's views may lie in two batches
            if whole:
                rows = self._aggregate(records[:whole].reshape(-1, self.num_views))
                self._mark_unreadable(rows, done)
                done += len(rows)
                yield rows, sigma
            rest = records[whole:]

    @property
    def _columns(self) -> int:
        """Number of columns of a Jacobian: D, or d along a tangent space."""
        return math.prod(self.xs.shape[1:]) if self.tangent is None else self.tangent.shape[-1]

    @property
    def directions(self) -> int:
        """Dimension of the surface on which the embeddings lie."""
        return min(self._columns, self.encoder.dim - self.encoder.null_directions)

    def _records(self, batch: Score, sigma: np.ndarray | None) -> np.ndarray:
        """Return the record of each view in a batch."""
        records = np.zeros(len(batch.score), self.record)
        base = base_log_density(batch.embedding, self.encoder.base) if self.law is None else self.law(batch.embedding)
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

    @property
    def _mixture(self) -> bool:
        """Whether the rows have the spread of several densities."""
        return len(self.encoder.densities) > 1 and self.views is None and self.tangent is None

    def _fill_density(self, records: np.ndarray, xs: Any) -> None:
        """Write the normalised log-density of samples if no law is measured, and the spread of several members."""
        logs = np.asarray(_log_densities(self.encoder, jnp.asarray(xs)), np.float64)
        weights = np.full(logs.shape[1], 1 / logs.shape[1]) if self.encoder.weights is None else self.encoder.weights
        if self.law is None:
            records["log_density"] = mixture_log_density(logs, weights)
        if self._mixture:
            records["spread"] = spread(logs, weights)
        self._empty(records)

    def _mark_unreadable(self, rows: np.ndarray, start: int) -> None:
        """Mark images that cannot be read as rows without a score, even if the encoder maps NaN to numbers."""
        if isinstance(self.xs, LazyImages):
            failed = [self.xs.failure(start + i) is not None for i in range(len(rows))]
            rows["reason"][failed] = UNREADABLE_CODE
            self._empty(rows)

    def _empty(self, records: np.ndarray) -> None:
        """Set all numbers in rows without a score to NaN."""
        for name in {"score", "log_density", "top", "standard_error", "spread"} & set(records.dtype.names or ()):
            records[name][records["reason"] > 0] = np.nan

    def _top(self, sigma: np.ndarray) -> np.ndarray:
        """Return the sum of the largest log singular values [n], with clipping and null directions as in the score."""
        values = sigma.shape[1]
        null = max(0, values - (self.encoder.dim - self.encoder.null_directions))
        kept = np.where(np.arange(values) < values - null, sigma, 0)[:, : self.rank]
        floor = 0.0 if self.how["drop_clipped"] else math.log(self.eps)
        return np.where(kept > self.eps, np.log(np.maximum(kept, self.eps)), floor).sum(axis=1)

    def _aggregate(self, views: np.ndarray) -> np.ndarray:
        """Aggregate the M records of each sample, [n, M] -> [n]."""
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
