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
    """[H, W, C] -> [K]: 3 x 3 convolutions of stride 2, then a dense layer over the whole remaining map."""

    def __init__(
        self, shape: tuple[int, int, int], channels: tuple[int, ...], dim: int, activation: str, *, rngs: nnx.Rngs
    ) -> None:
        self.depth = len(channels)
        self.activation = ACTIVATIONS[activation]
        height, width, features = shape
        for i, out in enumerate(channels):
            layer = nnx.Conv(features, out, (3, 3), strides=2, padding="SAME", rngs=rngs)
            setattr(self, f"conv_{i}", layer)
            height, width, features = -(-height // 2), -(-width // 2), out
        self.head = MLP((height * width * features, 2 * dim, dim), activation, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """One image to its embedding."""
        for i in range(self.depth):
            x = self.activation(getattr(self, f"conv_{i}")(x))
        return self.head(self.activation(x.reshape(-1)))


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
        if self.sphere:
            # Not linalg.norm: its derivative at zero is not a number.
            z = z * jax.lax.rsqrt(jnp.sum(z**2) + 1e-12)
        return z
