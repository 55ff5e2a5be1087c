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
from jepa_jax.errors import ConfigError
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
      tokens: (params, x, at, valid) -> the tokens of some patches, as `vit.encode`; None where there are none.
    """

    init: Callable[..., Params]
    apply: Callable[[Params, Array], Array]
    dim: int
    null_directions: int = 0
    tokens: Callable[..., Array] | None = None


def build(encoder: cfg.Encoder, shape: tuple[int, ...], output: str, remat: bool = False) -> Model:
    """The encoder of a config.

    `init` takes, beside the key, the `mean` and `scale` that standardise the input; they travel with the weights,
    so that the encoder is a function of raw samples, and training leaves them alone.

    Args:
      shape: of one sample.
      output: `free` or `sphere`.
      remat: keep few activations for a backward pass and compute them again.

    Raises:
      ConfigError: a network for images over samples that are none, or sizes that do not fit.
    """
    size = math.prod(shape)
    dim = encoder.dim
    if dim is None:
        raise ValueError("encoder.dim is open; resolve the config first")
    if encoder.kind != "mlp" and len(shape) != 3:
        raise ConfigError(
            f"`encoder.kind` {encoder.kind} needs images [H, W, C], and a sample here has shape {list(shape)}; use mlp"
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

    transformer = _vit(encoder, shape, dim, remat) if encoder.kind == "vit" else None
    if transformer is None:
        network_init, network_apply = _pure(make)
        network_apply = jax.checkpoint(network_apply) if remat else network_apply
    else:
        network_init, network_apply = partial(vit.init, transformer), partial(_vit_apply, transformer, output)

    def init(key: Array, mean: Array | float = 0.0, scale: Array | float = 1.0) -> Params:
        ones = jnp.ones(shape, jnp.float32)
        return {"network": network_init(key), "input": {"mean": mean * ones, "scale": scale * ones}}

    def apply(params: Params, x: Array) -> Array:
        x = standardised(params, x)
        return network_apply(params["network"], x.reshape(-1) if encoder.kind == "mlp" else x)

    nulls = 1 if output == "sphere" else 0
    if transformer is None:
        return Model(init, apply, dim, nulls)

    def tokens(params: Params, x: Array, at: Array | None = None, valid: Array | None = None) -> Array:
        return vit.encode(transformer, params["network"], standardised(params, x), at, valid)

    return Model(init, apply, dim, nulls + transformer.null_directions, tokens)


def standardised(params: Params, x: Array) -> Array:
    """A sample as the network takes it, by the constants that travel with the weights."""
    # A crop may be smaller than the image. All pixels have the same constants.
    here = tuple(slice(n) for n in x.shape)
    mean, scale = (jax.lax.stop_gradient(params["input"][name])[here] for name in ("mean", "scale"))
    return (x - mean) / scale


def _vit(encoder: cfg.Encoder, shape: tuple[int, ...], dim: int, remat: bool) -> vit.ViT:
    """A vision transformer whose embedding is the mean patch, or a linear map of it where K is not its width."""
    if encoder.skip:
        raise ConfigError("`encoder.skip` is for mlp and conv; leave it out")
    if shape[0] != shape[1]:
        raise ConfigError(f"`encoder.kind` vit needs square images, not {shape[0]} x {shape[1]}; use conv")
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
            projection=None if dim == encoder.width else dim,
            remat=remat,
        )
        jax.eval_shape(partial(vit.init, config), jax.random.key(0))
    except ValueError as error:
        raise ConfigError(f"`encoder.kind` vit: {error}") from None
    return config


def _vit_apply(config: vit.ViT, output: str, params: Params, x: Array) -> Array:
    z = vit.apply(config, params, x)
    return on_sphere(z) if output == "sphere" else z


def build_mlp(widths: tuple[int, ...]) -> Model:
    """An MLP with these widths, the first of its input, the last of its output."""
    return Model(*_pure(lambda key: MLP(widths, "gelu", rngs=nnx.Rngs(key))), widths[-1])


def build_predictor(widths: tuple[int, ...], dim: int) -> Model:
    """An MLP [K] -> [K] with these hidden widths."""
    return build_mlp((dim, *widths, dim))


def _pure(make: Callable[[Array], Any]) -> tuple[Callable[[Array], Params], Callable[[Params, Array], Array]]:
    graph = nnx.graphdef(nnx.eval_shape(make, jax.random.key(0)))

    def init(key: Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(key), nnx.Param))

    def apply(params: Params, x: Array) -> Array:
        return nnx.merge(graph, params)(x)

    return init, apply
