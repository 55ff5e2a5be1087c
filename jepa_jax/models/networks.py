"""The networks. Each maps one sample; batching is `jax.vmap` where it is called."""

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


HEAD_WIDTH = 128  # between the last feature map and the embedding


class MLP(nnx.Module):
    """[D] -> [K]: dense layers with an activation between them."""

    def __init__(self, sizes: tuple[int, ...], activation: str, *, rngs: nnx.Rngs) -> None:
        self.depth = len(sizes) - 1
        self.activation = ACTIVATIONS[activation]
        # Named attributes, not an nnx.List: integer keys come back from a checkpoint as strings, in another order.
        for i in range(self.depth):
            setattr(self, f"dense_{i}", nnx.Linear(sizes[i], sizes[i + 1], rngs=rngs))

    def __call__(self, x: Array) -> Array:
        """One vector to one vector."""
        for i in range(self.depth):
            x = getattr(self, f"dense_{i}")(x)
            if i + 1 < self.depth:
                x = self.activation(x)
        return x


class ConvNet(nnx.Module):
    """[H, W, C] -> [K]: 3 x 3 convolutions of stride 2, then an MLP with one hidden layer over the whole map.

    A convolution is written as nine strided slices and one matrix product: XLA runs its own convolution on one core
    inside a compiled loop on CPU, and under `vmap` over cotangents it is slower still.
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
        """One image to its embedding."""
        for i in range(self.depth):
            x = self.activation(getattr(self, f"conv_{i}")(neighbourhoods(x)))
        return self.head(self.activation(x.reshape(-1)))


def neighbourhoods(x: Array) -> Array:
    """The 3 x 3 neighbourhood of every other pixel: [H, W, C] -> [ceil(H/2), ceil(W/2), 9 C], zeros beyond the edge."""
    height, width = -(-x.shape[0] // 2), -(-x.shape[1] // 2)
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)))
    return jnp.concatenate(
        [padded[i : i + 2 * height : 2, j : j + 2 * width : 2] for i in range(3) for j in range(3)], axis=-1
    )


class Encoder(nnx.Module):
    """A network between the standardised input and the embedding, with an optional linear path beside it."""

    def __init__(self, network: MLP | ConvNet, skip: nnx.Linear | None, sphere: bool) -> None:
        self.network = network
        self.skip = skip
        self.sphere = sphere

    def __call__(self, x: Array) -> Array:
        """One sample to its embedding [K]."""
        z = self.network(x)
        if self.skip is not None:
            z = z + self.skip(x.reshape(-1))
        return on_sphere(z) if self.sphere else z


def on_sphere(z: Array) -> Array:
    """z / |z|, never in less than float32. Not by linalg.norm: its derivative at zero is not a number."""
    z = at_least_float32(z)
    return z * jax.lax.rsqrt(jnp.sum(z**2) + 1e-12)


def at_least_float32(x: Array) -> Array:
    """Wider numbers for what bfloat16 cannot sum; float32 and float64 stay."""
    return x.astype(jnp.float32) if jnp.finfo(x.dtype).bits < 32 else x
