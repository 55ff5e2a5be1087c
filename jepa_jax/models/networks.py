"""Networks that map one sample; the caller batches them by `jax.vmap`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": jax.nn.gelu,
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "softplus": jax.nn.softplus,
    "elu": jax.nn.elu,
}


HEAD_WIDTH = 128  # width of the layer between the last feature map and the embedding


class MLP(nnx.Module):
    """Dense layers with an activation between them, [D] -> [K]."""

    def __init__(self, sizes: tuple[int, ...], activation: str, *, rngs: nnx.Rngs) -> None:
        self.depth = len(sizes) - 1
        self.activation = ACTIVATIONS[activation]
        # Named attributes instead of an nnx.List: a checkpoint restores integer keys as strings, in another order.
        for i in range(self.depth):
            setattr(self, f"dense_{i}", nnx.Linear(sizes[i], sizes[i + 1], rngs=rngs))

    def __call__(self, x: Array) -> Array:
        """Map one vector to one vector."""
        for i in range(self.depth):
            x = getattr(self, f"dense_{i}")(x)
            if i + 1 < self.depth:
                x = self.activation(x)
        return x


class ConvNet(nnx.Module):
    """3 x 3 convolutions with stride 2, then an MLP with one hidden layer over the whole map, [H, W, C] -> [K].

    A convolution is implemented as nine strided slices and one matrix product. On CPU, XLA runs its own convolution on
    one core inside a compiled loop, and under `vmap` over cotangents it is even slower.
    """

    def __init__(
        self, shape: tuple[int, int, int], channels: tuple[int, ...], dim: int, activation: str, *, rngs: nnx.Rngs
    ) -> None:
        self.depth = len(channels)
        self.activation = ACTIVATIONS[activation]
        height, width, features = shape
        for i, out in enumerate(channels):
            setattr(self, f"conv_{i}", nnx.Linear(9 * features, out, rngs=rngs))
            height, width, features = -(-height // 2), -(-width // 2), out
        self.head = MLP((height * width * features, HEAD_WIDTH, dim), activation, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """Map one image to its embedding."""
        for i in range(self.depth):
            x = self.activation(getattr(self, f"conv_{i}")(neighbourhoods(x)))
        return self.head(self.activation(x.reshape(-1)))


def neighbourhoods(x: Array) -> Array:
    """Return the 3 x 3 neighbourhood of every other pixel, with zeros beyond the edge.

    The result is [ceil(H/2), ceil(W/2), 9 C] for x [H, W, C].
    """
    height, width = -(-x.shape[0] // 2), -(-x.shape[1] // 2)
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    return jnp.concatenate(
        [padded[i : i + 2 * height : 2, j : j + 2 * width : 2] for i in range(3) for j in range(3)], axis=-1
    )


class Encoder(nnx.Module):
    """Network from the standardised input to the embedding, with an optional linear path beside it."""

    def __init__(self, network: MLP | ConvNet, skip: nnx.Linear | None, sphere: bool) -> None:
        self.network = network
        self.skip = skip
        self.sphere = sphere

    def __call__(self, x: Array) -> Array:
        """Map one sample to its embedding [K]."""
        z = self.network(x)
        if self.skip is not None:
            z = z + self.skip(x.reshape(-1))
        return on_sphere(z) if self.sphere else z


def on_sphere(z: Array) -> Array:
    """Return z / |z|, computed in at least float32.

    `jnp.linalg.norm` is not used, because its derivative at zero is not a number.
    """
    z = at_least_float32(z)
    return z * jax.lax.rsqrt(jnp.sum(z**2) + 1e-12)


def at_least_float32(x: Array) -> Array:
    """Convert narrower types such as bfloat16 to float32, for accurate sums; float32 and float64 stay unchanged."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x


class DeepLinear(nnx.Module):
    """Product of square matrices, [D] -> [D], each orthogonal times one scale at the start.

    The last layer undoes the rotations of the others, so that the whole is the identity times scale^depth: all layers
    have equal singular values (a balanced start), and the axes of the input are those of the map.
    """

    def __init__(self, size: int, depth: int, scale: float, *, rngs: nnx.Rngs) -> None:
        self.depth = depth
        orthogonal = nnx.initializers.orthogonal()
        product = jnp.eye(size)
        for i in range(depth):
            rotation = orthogonal(rngs.params(), (size, size), jnp.float32) if i + 1 < depth else product.T
            product = product @ rotation
            setattr(self, f"dense_{i}", nnx.Param(scale * rotation))

    def __call__(self, x: Array) -> Array:
        """Map one vector to one vector."""
        for i in range(self.depth):
            x = x @ getattr(self, f"dense_{i}")[...]
        return x
