"""Scores of many samples: compiled once, with bounded memory, over all devices of a mesh."""

import math
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

from jepa_jax.density.checks import check_arrays, output_of
from jepa_jax.density.jacobian import Mode, Precision, default_chunk
from jepa_jax.density.program import trace
from jepa_jax.density.score import EPS, Score, differentiate, log_units, read
from jepa_jax.density.spectrum import Method
from jepa_jax.memory import BATCH_BYTES, CHUNK_BYTES, available, budget

MAX_SAMPLES_PER_DEVICE = 4096  # larger batches are not faster, and progress would be reported too rarely
# Most copies of a Jacobian in memory at the same time: its float64 form and the arrays of the decomposition.
JACOBIAN_COPIES = 8
# With XLA's own kernels for products among the candidates, a ViT-S takes 90 s to compile on an H200 instead of 12.
GPU_OPTIONS: dict[str, str | bool] = {"xla_gpu_enable_triton_gemm": False}


class MemoryWarning(ResourceWarning):
    """A batch or a chunk was reduced, because memory is too small for it."""


@dataclass(frozen=True)
class _Static:
    """Options that are static arguments of the compiled scorer."""

    eps: float
    mode: Mode
    chunk: int | None
    method: Method
    precision: Precision
    null_directions: int
    drop_clipped: bool
    values: bool
    platform: str
    memory: int | None = None  # of a device that this machine does not have


def score_samples(
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
    mesh: Mesh | None = None,
) -> Array:
    """Compute the JEPA-SCORE of many samples in batches: compiled once, with bounded memory.

    Args:
      f: Function of one sample that returns an embedding [K]: an encoder from `jepa_jax.load`, an NNX, Equinox or bound
        Linen module, or any closure. A function that reads other arrays, such as weights in training, is traced in
        every call, which takes milliseconds, so that their present values count; it is compiled again only if it
        computes something else with them.
      xs: Samples [N, ...], or a pytree of such arrays.
      eps: As in `jepa_score`.
      mode: As in `jepa_score`.
      chunk: As in `jepa_score`.
      method: As in `jepa_score`.
      precision: As in `jepa_score`.
      drop_clipped: As in `jepa_score`.
      tangent: As in `score_batches`.
      batch_size: As in `score_batches`.
      mesh: As in `score_batches`.

    Returns:
      Scores [N] in nats, a JAX array. The score is NaN where the embedding or the Jacobian of a sample is not finite.

    Raises:
      TypeError: As in `score_batches`.
      ValueError: If there are no samples, or as in `jepa_score`.
    """
    batches = score_batches(
        f,
        xs,
        eps,
        mode=mode,
        chunk=chunk,
        method=method,
        precision=precision,
        drop_clipped=drop_clipped,
        tangent=tangent,
        batch_size=batch_size,
        values=False,
        mesh=mesh,
    )
    return jnp.concatenate([b.score for b in batches])


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
    """Score many samples as `score_samples` does, and yield the complete `Score` of one batch at a time.

    Args:
      f: As in `score_samples`. An object with the attribute `carries_weights`, such as `Encoder`, reads nothing but its
        leaves and its static fields, and is not traced again.
      xs: As in `score_samples`.
      eps: As in `jepa_score`.
      mode: As in `jepa_score`.
      chunk: As in `jepa_score`.
      method: As in `jepa_score`.
      precision: As in `jepa_score`.
      drop_clipped: As in `jepa_score`.
      tangent: A basis of tangent directions for each sample, [N, D, d].
      batch_size: Number of samples scored at once, over all devices; None uses as many as fit in memory. A batch that
        does not fit is made smaller, with a warning.
      values: Whether to keep the singular values.
      mesh: Devices that share the samples. Its axis `data` divides the samples; the arrays of f stay sharded over its
        other axes (see `shard_parameters`). None uses the default device.

    Raises:
      TypeError: If the samples are no arrays.
      ValueError: If there are no samples, the mesh has no axis `data`, f cannot be evaluated on a sample, or as in
        `jepa_score`.
    """
    count = _count(xs)
    _check_options(count, batch_size, tangent, mesh)
    platform = platform_of(mesh)
    static = _Static(
        eps, mode, chunk, method, precision, getattr(f, "null_directions", 0), drop_clipped, values, platform
    )
    first = jax.tree.map(lambda a: jnp.asarray(a[0]), xs)
    devices = 1 if mesh is None else mesh.shape["data"]
    size = _fitting_batch_size(f, first, count, batch_size, devices, tangent, static)
    run: Callable[..., Score] | None = None
    for start in range(0, count, size):
        batch = jax.tree.map(lambda a, s=start: jnp.asarray(a[s : s + size]), (xs, tangent))
        present = min(size, count - start)
        if present < size:  # pad, so that the last batch needs no second compilation
            batch = jax.tree.map(lambda a, n=size - present: _padded(a, n), batch)
        batch = _place(batch, mesh)
        run = run or _program(f, batch, static, mesh)
        result = run(*batch)
        if mesh is not None:  # wait before sending more to devices that may still be communicating
            result = jax.tree.map(jnp.asarray, jax.device_get(result))
        yield jax.tree.map(lambda a, n=present: a[:n], result)


def score_all(
    f: Callable[[Any], Array], xs: Any, eps: float = EPS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the scores [N], embeddings [N, K], singular values [N, R] and clip counts [N] of samples [N, ...].

    The arguments are those of `score_samples`.
    """
    batches = list(score_batches(f, xs, eps))
    score, z, sigma, clipped = (
        np.concatenate([np.asarray(getattr(batch, name)) for batch in batches])
        for name in ("score", "embedding", "singular_values", "clipped")
    )
    return score, z, sigma, clipped


def trace_batch(
    f: Any,
    abstract: Any,
    x: Any,
    count: int,
    eps: float = EPS,
    *,
    mesh: Mesh,
    memory: int | None = None,
    tangent_dim: int | None = None,
    batch_size: int | None = None,
    mode: Mode = "auto",
    chunk: int | None = None,
    method: Method = "auto",
    precision: Precision = "float32",
    drop_clipped: bool = False,
    values: bool = True,
) -> tuple[Any, int]:
    """Trace the program of one batch in `score_batches` for devices that this machine need not have.

    Args:
      f: Object with the attribute `carries_weights`, such as `Encoder`.
      abstract: The same with abstract arrays, which have shardings over the mesh.
      x: `jax.ShapeDtypeStruct` of one sample, or a pytree of them.
      count: N, the number of samples.
      eps: As in `score_batches`.
      mesh: Devices that the program is compiled for, with the axes of `jepa_jax.sharding`.
      memory: Bytes of memory of each of them; None asks the devices of this process.
      tangent_dim: d, if the score is along tangent spaces.
      batch_size: As in `score_batches`.
      mode: As in `score_batches`.
      chunk: As in `score_batches`.
      method: As in `score_batches`.
      precision: As in `score_batches`.
      drop_clipped: As in `score_batches`.
      values: As in `score_batches`.

    Returns:
      The trace, a `jax.stages.Traced`, and the batch size.

    Raises:
      ValueError: As in `score_batches`.
    """
    _check_options(count, batch_size, None, mesh)
    nulls, platform = getattr(f, "null_directions", 0), platform_of(mesh)
    static = _Static(eps, mode, chunk, method, precision, nulls, drop_clipped, values, platform, memory)
    numbers = sum(math.prod(a.shape) for a in jax.tree.leaves(x))
    tangent = None if tangent_dim is None else jax.ShapeDtypeStruct((numbers, tangent_dim), jnp.float32)
    size = _fitting_batch_size(f, x, count, batch_size, mesh.shape["data"], tangent, static)

    def batch_of(a: Any) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((size, *a.shape), a.dtype, sharding=NamedSharding(mesh, P("data")))

    xs, tangents = jax.tree.map(batch_of, (x, tangent))
    return _compiled.trace(abstract, xs, tangents, static=static, mesh=mesh if mesh.size > 1 else None), size


def platform_of(mesh: Mesh | None) -> str:
    """Return the platform of a mesh, or of the default backend without one: `cpu`, `gpu` or `tpu`."""
    return jax.default_backend() if mesh is None else mesh.devices.flat[0].platform


def default_batch_size(samples: int, size: int, dim: int, platform: str, memory: int | None = None) -> int:
    """Return the batch size whose Jacobians, with the arrays computed from them, stay within the memory budget.

    Args:
      samples: Upper limit of the batch size.
      size: D, the number of input numbers of a sample, or the number of tangent directions.
      dim: K; the Jacobian of a sample is [dim, size].
      platform: Platform of the device: `cpu`, `gpu` or `tpu`.
      memory: As in `jepa_jax.memory.available`.
    """
    fitting = budget(BATCH_BYTES, platform, memory) // (4 * size * dim * JACOBIAN_COPIES)
    return max(1, min(samples, MAX_SAMPLES_PER_DEVICE, fitting))


def _check_options(count: int, batch_size: int | None, tangent: Any, mesh: Mesh | None) -> None:
    """Raise ValueError if an option does not fit `count` samples."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    if tangent is not None and len(tangent) != count:
        raise ValueError(f"there are {len(tangent)} tangents for {count} samples; give one for each sample")
    if mesh is not None and "data" not in mesh.axis_names:
        raise ValueError(f"the mesh has axes {', '.join(mesh.axis_names)}; one must be called data")


def _count(xs: Any) -> int:
    """Return N, which must be the same for all arrays of a pytree."""
    check_arrays(xs)
    counts = {len(a) for a in jax.tree.leaves(xs)}
    if len(counts) != 1:
        raise ValueError(f"the arrays of xs must have the same number of samples, not {sorted(counts)}")
    if not (count := counts.pop()):
        raise ValueError("there are no samples to score")
    return count


def _fitting_batch_size(
    f: Any, x: Any, count: int, batch_size: int | None, devices: int, tangent: Any, static: _Static
) -> int:
    """Return the batch size over all devices that fits in memory."""
    out = output_of(f, x)
    size = sum(a.size for a in jax.tree.leaves(x))
    dim = getattr(out, "size", 1)  # `jacobian` rejects an output that is not an array, with a better message
    columns = size if tangent is None else tangent.shape[-1]
    share = -(-count // devices)
    each = (
        default_batch_size(share, columns, dim, static.platform, static.memory)
        if batch_size is None
        else min(-(-batch_size // devices), share)
    )
    jacobian_bytes = 4 * columns * dim * JACOBIAN_COPIES
    room = available(static.platform, static.memory)
    if batch_size is not None and room is not None and each > 1 and each * jacobian_bytes > room:
        fits = max(1, room // (2 * jacobian_bytes))
        _warn(f"a batch of {batch_size} needs more memory than there is; {fits * devices} at once instead")
        each = fits
    return each * devices


def _fitting_chunk(f: Any, x: Any, samples: int, static: _Static) -> int | None:
    """Return `static.chunk` or the default for this many samples, reduced if memory is too small."""
    if getattr(f, "jacobian_factor", None) is not None:
        return static.chunk  # the encoder chooses its own chunk
    auto = default_chunk(f, x, static.mode, static.platform, samples, static.memory)
    room = available(static.platform, static.memory)
    if static.chunk is None or room is None:
        return static.chunk or auto
    # `auto` products fit into the chunk's budget; scale that number to half of the free memory.
    fits = max(1, auto * (room // 2) // budget(CHUNK_BYTES, static.platform, static.memory))
    if static.chunk <= fits or auto == fits:
        return static.chunk
    _warn(f"a chunk of {static.chunk} needs more memory than there is; {fits} at once instead")
    return fits


def _warn(text: str) -> None:
    warnings.warn(text, MemoryWarning, stacklevel=4)


def _padded(a: Array, count: int) -> Array:
    return jnp.concatenate([a, jnp.broadcast_to(a[-1:], (count, *a.shape[1:]))])


def _place(batch: Any, mesh: Mesh | None) -> Any:
    """Put the batch on the devices that score it."""
    return batch if mesh is None else jax.device_put(batch, NamedSharding(mesh, P("data")))


def _program(f: Any, batch: Any, static: _Static, mesh: Mesh | None) -> Callable[..., Score]:
    """Return the compiled scorer of batches like this one."""
    if getattr(f, "carries_weights", False):
        return partial(_compiled_for_gpu if static.platform == "gpu" else _compiled, f, static=static, mesh=mesh)
    return trace(partial(_scores, f, static=static, mesh=mesh), *batch)


def _scores(f: Any, xs: Any, tangent: Any, *, static: _Static, mesh: Mesh | None) -> Score:
    devices = 1 if mesh is None else mesh.shape["data"]

    def matrices(f: Any, xs: Any, tangent: Any) -> tuple[Array, Array]:
        x = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype), xs)
        each = -(-_count(xs) // devices)
        chunk = static.chunk if tangent is not None else _fitting_chunk(f, x, each, static)
        how = partial(
            differentiate,
            f,
            mode=static.mode,
            chunk=chunk,
            precision=static.precision,
            platform=static.platform,
            memory=static.memory,
        )
        return jax.vmap(lambda x, t: how(x, tangent=t))(xs, tangent)

    unit = log_units(f, tangent)

    def scores(j: Array, z: Array) -> Score:
        return read(
            j,
            z,
            static.eps,
            method=static.method,
            null_directions=static.null_directions,
            drop_clipped=static.drop_clipped,
            values=static.values,
            platform=static.platform,
            log_units=unit,
        )

    if mesh is None and static.platform == "gpu" and getattr(f, "jacobian_factor", None) is not None:
        # One sample fills a GPU, and a branch is taken for it alone.
        one = jax.lax.map(lambda xt: scores(*matrices(f, *jax.tree.map(lambda a: a[None], xt))), (xs, tangent))
        return jax.tree.map(lambda a: a[:, 0], one)
    if mesh is None:
        return scores(*matrices(f, xs, tangent))
    # The compiler partitions the Jacobians by the shardings of f and xs. It cannot partition calls of LAPACK, for which
    # it would gather the whole batch: `shard_map` divides them.
    read_share = one_by_one(scores) if static.platform == "cpu" else scores
    divided = jax.shard_map(read_share, mesh=mesh, in_specs=P("data"), out_specs=P("data"), check_vma=False)
    return divided(*matrices(f, xs, tangent))


def one_by_one(scores: Callable[[Array, Array], Score]) -> Callable[[Array, Array], Score]:
    """Return the function as a loop over samples, for devices that share the threads of one CPU.

    A batch of LAPACK in jaxlib 0.10 waits, on a thread of the pool of all devices, for other threads of it, and for
    ever if all of them wait. A single matrix is decomposed where it is.
    """

    def each(jz: tuple[Array, Array]) -> Score:
        return jax.tree.map(lambda a: a[0], scores(*(a[None] for a in jz)))

    return lambda j, z: jax.lax.map(each, (j, z))


_compiled = jax.jit(_scores, static_argnames=("static", "mesh"))
_compiled_for_gpu = jax.jit(_scores, static_argnames=("static", "mesh"), compiler_options=GPU_OPTIONS)
