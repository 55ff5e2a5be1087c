"""Embeddings of samples, and the file of them."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jepa_jax.data import LazyImages, readable
from jepa_jax.encoder import Encoder
from jepa_jax.files import write_atomically

BATCH_SIZE = 64  # samples that are embedded at once


def embed(encoder: Encoder, xs: np.ndarray | LazyImages, count: int | None = None) -> np.ndarray:
    """Return the embeddings [N, K], float32, of the first `count` samples or of all; NaN for unreadable images."""
    program = jax.jit(lambda encoder, xs: jax.vmap(encoder)(xs))
    found, stop = [], len(xs) if count is None else min(count, len(xs))
    for start in range(0, stop, BATCH_SIZE):
        batch = np.asarray(xs[start : min(start + BATCH_SIZE, stop)])
        # Filled up to one shape, for which one program is compiled.
        filled = np.concatenate([batch, np.repeat(batch[:1], BATCH_SIZE - len(batch), axis=0)])
        z = np.asarray(program(encoder, jnp.asarray(filled)), np.float32)[: len(batch)]
        found.append(np.where(readable(batch)[:, None], z, np.nan))
    return np.concatenate(found) if found else np.zeros((0, encoder.dim), np.float32)


def write_embeddings(path: Path, ids: np.ndarray, z: np.ndarray) -> None:
    """Write embeddings [N, K] and the ids [N] of the samples."""
    write_atomically(path, lambda p: np.savez(p, embeddings=z, id=ids))
