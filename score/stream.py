"""Scoring rows: from samples to the records of the table."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jepa_jax.density import Score, aggregate_views, default_batch_size, log_law, score_batches
from jepa_jax.encoder import Encoder
from score.views import Views

# Why a row has no score, by the number in its record; of several views the larger counts.
REASONS = ("", "the Jacobian is not finite", "the embedding is not finite")

_aggregate = jax.jit(aggregate_views)


@dataclass(frozen=True)
class Scorer:
    """All that a row's record depends on, and how it is computed.

    Attributes:
      encoder: its arrays are where the mesh wants them.
      xs: [N, ...], all samples.
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
    xs: np.ndarray
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
        return self.batch_size or devices * default_batch_size(share, self._columns, self.encoder.dim)

    @property
    def unit(self) -> int:
        """The fewest rows that are a whole number of batches."""
        return math.lcm(self.size, self.num_views) // self.num_views

    def rows(self, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """Score the samples start..stop.

        Returns:
          records, as they come; and with each some singular values [n, R], if the method gives them.
        """
        batches = score_batches(
            self.encoder,
            self.xs[start:stop] if self.views is None else self.views(start, stop),
            self.eps,
            **self.how,
            tangent=None if self.tangent is None else self.tangent[start:stop],
            batch_size=self.size,
            values=self.how["method"] != "qr",  # they cost nothing else: for the picture, if for nothing more
            mesh=self.mesh,
        )
        rest = np.zeros(0, self.record)
        for batch in batches:
            sigma = None if batch.singular_values is None else np.asarray(batch.singular_values)
            records = np.concatenate([rest, self._records(batch, sigma)])
            whole = len(records) // self.num_views * self.num_views  # a sample's views may lie in two batches
            if whole:
                yield self._aggregate(records[:whole].reshape(-1, self.num_views)), sigma
            rest = records[whole:]

    @property
    def _columns(self) -> int:
        """D, or d."""
        return math.prod(self.xs.shape[1:]) if self.tangent is None else self.tangent.shape[-1]

    def _records(self, batch: Score, sigma: np.ndarray | None) -> np.ndarray:
        """The record of each view."""
        records = np.zeros(len(batch.score), self.record)
        law = log_law(batch.embedding, self.encoder.law)
        records["score"] = batch.score
        records["log_density"] = np.nan if law is None else batch.score + law
        records["clipped"] = batch.clipped
        if self.rank and sigma is not None:
            records["top"] = self._top(sigma)
        if self.spectra:
            records["singular_values"] = sigma
        finite = np.isfinite(records["score"])
        embedded = np.isfinite(np.asarray(batch.embedding)).all(axis=1)
        records["reason"] = np.where(embedded, np.where(finite, 0, 1), 2)
        for name in {"score", "log_density", "top"} & set(records.dtype.names or ()):
            records[name][records["reason"] > 0] = np.nan
        return records

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
