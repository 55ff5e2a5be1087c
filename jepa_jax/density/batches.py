"""Scores of many samples: compiled once, memory bounded, over all devices of a mesh."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jepa_jax.density.jacobian import Mode, Precision, default_chunk
from jepa_jax.density.score import EPS, Score, differentiate, read
from jepa_jax.density.spectrum import Method
from jepa_jax.memory import BATCH_BYTES, CHUNK_BYTES, available, budget

LARGEST = 4096  # samples a device scores at once: more gain nothing, and progress would be slow to show
COPIES = 8  # of a Jacobian that are alive at a time, at most: its float64 form, what the decomposition makes


@dataclass(frozen=True)
class _Static:
    """What is compiled into the scorer."""

    eps: float
    mode: Mode
    chunk: int | None
    method: Method
    precision: Precision
    null_directions: int
    drop_clipped: bool
    values: bool
    platform: str


def score_samples(f: Callable[[Any], Array], xs: Any, eps: float = EPS, **options: Any) -> Array:
    """JEPA-SCORE of many samples: compiled once, batched, memory bounded.

    Args:
      f: one sample -> [K]. An encoder from `jepa_jax.load` passes its weights as arguments of the compiled function;
        the arrays that any other function closes over become constants in it.
      xs: [N, ...], or a pytree of such arrays.
      eps: as in `jepa_score`.
      options: as in `score_batches`.

    Returns:
      [N], in nats. A sample whose embedding or Jacobian is not finite has NaN.

    Raises:
      ValueError: no samples, or as `jepa_score`.
    """
    return jnp.concatenate([b.score for b in score_batches(f, xs, eps, values=False, **options)])


def score_batches(
    f: Callable[[Any], Array],
    xs: Any,
    eps: float = EPS,
    *,
    mode: Mode = "auto",
    chunk: int | None = None,
    method: Method = "auto",
    precision: Precision = "float32",
    drop_clipped: bool = False,
    tangent: Array | np.ndarray | None = None,
    batch_size: int | None = None,
    values: bool = True,
    mesh: Mesh | None = None,
) -> Iterator[Score]:
    """As `score_samples`, but everything in `Score`, and a batch at a time.

    Args:
      f, xs, eps: as in `score_samples`.
      mode, chunk, method, precision, drop_clipped: as in `jepa_score`.
      tangent: [N, D, d], a basis for each sample.
      batch_size: samples at once, over all devices; None takes what fits. What does not fit is made smaller, with a
        warning that says so.
      values: whether to keep the singular values.
      mesh: devices to share the samples; its axis `data` divides them, and the arrays of f stay as they are sharded
        over its other axes (see `shard_parameters`). None uses the default device.

    Raises:
      ValueError: no samples, a mesh without the axis `data`, or as `jepa_score`.
    """
    count = _count(xs)
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if tangent is not None and len(tangent) != count:
        raise ValueError(f"there are {len(tangent)} tangents for {count} samples")
    if mesh is not None and "data" not in mesh.axis_names:
        raise ValueError(f"the mesh has axes {', '.join(mesh.axis_names)}; one must be called data")
    platform = jax.default_backend() if mesh is None else mesh.devices.flat[0].platform
    leaves = jax.tree.leaves(f)
    # A plain function is static to the compiler, a pytree of weights is an argument.
    function = jax.tree_util.Partial(f) if len(leaves) == 1 and leaves[0] is f else f
    static = _Static(
        eps, mode, chunk, method, precision, getattr(f, "null_directions", 0), drop_clipped, values, platform
    )
    first = jax.tree.map(lambda a: jnp.asarray(a[0]), xs)
    devices = 1 if mesh is None else mesh.shape["data"]
    size = _fit(f, first, count, batch_size, devices, tangent, platform)
    inputs = (xs, tangent)
    place = partial(_place, mesh=mesh)
    for start in range(0, count, size):
        batch = jax.tree.map(lambda a, s=start: jnp.asarray(a[s : s + size]), inputs)
        present = min(size, count - start)
        if present < size:  # padded, so that the last batch needs no second compilation
            batch = jax.tree.map(lambda a, n=size - present: _padded(a, n), batch)
        result = _compiled(function, *place(batch), static, mesh)
        if mesh is not None:  # waited for, before more is sent to devices that may still be talking to each other
            result = jax.tree.map(jnp.asarray, jax.device_get(result))
        yield jax.tree.map(lambda a, n=present: a[:n], result)


def default_batch_size(samples: int, size: int, dim: int, platform: str) -> int:
    """Samples of D = size numbers whose [dim, size] Jacobians, and what is made of them, stay within the budget."""
    return max(1, min(samples, LARGEST, budget(BATCH_BYTES, platform) // (4 * size * dim * COPIES)))


def _count(xs: Any) -> int:
    """N, the same for all arrays of a pytree."""
    counts = {len(a) for a in jax.tree.leaves(xs)}
    if len(counts) != 1:
        raise ValueError(f"the arrays of a sample disagree on how many samples there are: {sorted(counts)}")
    if not (count := counts.pop()):
        raise ValueError("there are no samples to score")
    return count


def _fit(f: Any, x: Any, count: int, batch_size: int | None, devices: int, tangent: Any, platform: str) -> int:
    """Batch size over all devices that memory allows."""
    out = jax.eval_shape(f, x)
    size = sum(a.size for a in jax.tree.leaves(x))
    dim = getattr(out, "size", 1)  # what is no array is refused by `jacobian`, with a better message
    columns = size if tangent is None else tangent.shape[-1]
    share = -(-count // devices)
    each = (
        default_batch_size(share, columns, dim, platform)
        if batch_size is None
        else min(-(-batch_size // devices), share)
    )
    jacobian_bytes = 4 * columns * dim * COPIES
    room = available(platform)
    if batch_size is not None and room is not None and each > 1 and each * jacobian_bytes > room:
        fits = max(1, room // (2 * jacobian_bytes))
        _warn(f"a batch of {batch_size} needs more memory than there is; {fits * devices} at once instead")
        each = fits
    return each * devices


def _chunk(f: Any, x: Any, samples: int, static: _Static) -> int | None:
    """Products at once for so many samples at a time: what the caller says, unless there is no room for it."""
    if getattr(f, "jacobian_factor", None) is not None:
        return static.chunk  # the encoder's own affair
    auto = default_chunk(f, x, static.mode, static.platform, samples)
    room = available(static.platform)
    if static.chunk is None or room is None:
        return static.chunk or auto
    # `auto` is what the chunk's budget holds; so many times that is what half of the free memory holds.
    fits = max(1, auto * (room // 2) // budget(CHUNK_BYTES, static.platform))
    if static.chunk <= fits or auto == fits:
        return static.chunk
    _warn(f"a chunk of {static.chunk} needs more memory than there is; {fits} at once instead")
    return fits


def _warn(text: str) -> None:
    warnings.warn(text, ResourceWarning, stacklevel=4)


def _padded(a: Array, count: int) -> Array:
    return jnp.concatenate([a, jnp.broadcast_to(a[-1:], (count, *a.shape[1:]))])


def _place(batch: Any, mesh: Mesh | None) -> Any:
    """The batch on the devices that will score it."""
    return batch if mesh is None else jax.device_put(batch, NamedSharding(mesh, P("data")))


@partial(jax.jit, static_argnums=(3, 4))
def _compiled(f: Any, xs: Any, tangent: Any, static: _Static, mesh: Mesh | None) -> Score:
    devices = 1 if mesh is None else mesh.shape["data"]

    def matrices(f: Any, xs: Any, tangent: Any) -> tuple[Array, Array]:
        x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)
        each = -(-_count(xs) // devices)
        chunk = static.chunk if tangent is not None else _chunk(f, x, each, static)
        how = partial(
            differentiate, f, mode=static.mode, chunk=chunk, precision=static.precision, platform=static.platform
        )
        return jax.vmap(lambda x, t: how(x, tangent=t))(xs, tangent)

    def scores(j: Array, z: Array) -> Score:
        return jax.vmap(
            lambda j, z: read(
                j,
                z,
                static.eps,
                method=static.method,
                null_directions=static.null_directions,
                drop_clipped=static.drop_clipped,
                values=static.values,
                platform=static.platform,
            )
        )(j, z)

    if mesh is None:
        return scores(*matrices(f, xs, tangent))
    # The compiler divides the Jacobians, by the shardings of f and xs. It does not know how to divide LAPACK's calls
    # and would gather the batch for them, so that is done by hand.
    return jax.shard_map(scores, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=False)(
        *matrices(f, xs, tangent)
    )
