"""From a config to pure functions: NNX exists only while a model is built."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.models import vit
from jepa_jax.models.networks import MLP, ConvNet, Encoder, on_sphere

Params = dict[str, Any]


class Model(NamedTuple):
    """A network as pure functions.

    Attributes:
      init: key -> params, a nested dict of arrays.
      apply: (params, x) -> output [K] of one sample x.
      dim: K.
      null_directions: how many output directions are constant by construction (one on a sphere: the radius).
    """

    init: Callable[..., Params]
    apply: Callable[[Params, Array], Array]
    dim: int
    null_directions: int = 0


def build(encoder: cfg.Encoder, shape: tuple[int, ...], output: str) -> Model:
    """The encoder of a config.

    `init` takes, beside the key, the `mean` and `scale` that standardise the input; they travel with the weights,
    so that the encoder is a function of raw samples, and training leaves them alone.

    Args:
      shape: of one sample.
      output: `free` or `sphere`.

    Raises:
      cfg.ConfigError: a network for images over samples that are none, or sizes that do not fit.
    """
    size = math.prod(shape)
    dim = encoder.dim
    if dim is None:
        raise ValueError("encoder.dim is open; resolve the config first")
    if encoder.kind != "mlp" and len(shape) != 3:
        raise cfg.ConfigError(
            f"--encoder.kind {encoder.kind} needs images [H, W, C], and a sample here has shape {list(shape)}; use mlp"
        )

    def make(key: Array) -> Encoder:
        rngs = nnx.Rngs(key)
        if encoder.kind == "conv":
            height, width, channels = shape
            network: MLP | ConvNet = ConvNet(
                (height, width, channels), encoder.widths, dim, encoder.activation, rngs=rngs
            )
        else:
            network = MLP((size, *encoder.widths, dim), encoder.activation, rngs=rngs)
        skip = None
        if encoder.skip:
            orthogonal = nnx.initializers.orthogonal()
            skip = nnx.Linear(size, dim, use_bias=False, kernel_init=orthogonal, rngs=rngs)
        return Encoder(network, skip, output == "sphere")

    network_init, network_apply = _vit(encoder, shape, dim, output) if encoder.kind == "vit" else _pure(make)

    def init(key: Array, mean: Array | float = 0.0, scale: Array | float = 1.0) -> Params:
        ones = jnp.ones(shape, jnp.float32)
        return {"network": network_init(key), "input": {"mean": mean * ones, "scale": scale * ones}}

    def apply(params: Params, x: Array) -> Array:
        fixed = jax.lax.stop_gradient(params["input"])
        x = (x - fixed["mean"]) / fixed["scale"]
        return network_apply(params["network"], x.reshape(-1) if encoder.kind == "mlp" else x)

    nulls = 1 if output == "sphere" else 0
    if encoder.kind == "vit":  # the mean of the tokens is null before the projection
        nulls += max(0, dim - (encoder.width - 1))
    return Model(init, apply, dim, nulls)


def _vit(
    encoder: cfg.Encoder, shape: tuple[int, ...], dim: int, output: str
) -> tuple[Callable[[Array], Params], Callable[[Params, Array], Array]]:
    """A vision transformer whose embedding is a linear map of the mean patch."""
    if encoder.skip:
        raise cfg.ConfigError("--encoder.skip is for mlp and conv; leave it out")
    if shape[0] != shape[1]:
        raise cfg.ConfigError(f"--encoder.kind vit needs square images, not {shape[0]} x {shape[1]}; use conv")
    try:
        config = vit.ViT(
            image_size=shape[0],
            patch_size=encoder.patch_size,
            width=encoder.width,
            depth=encoder.depth,
            heads=encoder.heads,
            channels=shape[2],
            class_token=False,
            positions="sincos",
            pooling="mean",
            projection=dim,
        )
        jax.eval_shape(partial(vit.init, config), jax.random.key(0))
    except ValueError as error:
        raise cfg.ConfigError(f"--encoder.kind vit: {error}") from None

    def apply(params: Params, x: Array) -> Array:
        z = vit.apply(config, params, x)
        return on_sphere(z) if output == "sphere" else z

    return partial(vit.init, config), apply


def build_predictor(widths: tuple[int, ...], dim: int) -> Model:
    """An MLP [K] -> [K] with these hidden widths."""
    return Model(*_pure(lambda key: MLP((dim, *widths, dim), "gelu", rngs=nnx.Rngs(key))), dim)


def _pure(make: Callable[[Array], Any]) -> tuple[Callable[[Array], Params], Callable[[Params, Array], Array]]:
    graph = nnx.graphdef(nnx.eval_shape(make, jax.random.key(0)))

    def init(key: Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

    def apply(params: Params, x: Array) -> Array:
        return nnx.merge(graph, params)(x)

    return init, apply
