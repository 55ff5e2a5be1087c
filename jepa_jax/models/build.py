"""Networks as pure functions, built from a config; NNX is used only while a network is built."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError
from jepa_jax.models.networks import MLP, ConvNet, DeepLinear, Encoder, on_sphere
from jepa_jax.models.positions import GridPositions, row_features
from jepa_jax.models.token_encoder import TokenEncoder
from jepa_jax.models.tokens import TOKENISERS
from jepa_jax.models.transformer import Transformer
from jepa_jax.models.triangular import OUTPUTS, Triangular, log_volume_to

# (largest D, components of each mixture, probability to drop a hidden unit, shape of a component). Measured on 20,000
# rows: maps of few coordinates underfit, those of many overfit, and boxes win where few coordinates have edges.
SIZES: tuple[tuple[float, int, float, str], ...] = (
    (4, 32, 0.0, "box"),
    (8, 16, 0.0, "normal"),
    (16, 16, 0.2, "normal"),
    (math.inf, 10, 0.3, "normal"),
)
LEAST_WIDTH = 128  # of a triangular map of few coordinates
ROTATED_SIZE = 4  # up to which a rotated map is better than a permuted one

Params = dict[str, Any]
Shape = tuple[int, ...]


class Model(NamedTuple):
    """Network as pure functions.

    Attributes:
      init: Function key -> params, a nested dict of arrays.
      apply: Function (params, x) -> output [K] of one sample x.
      dim: Width of the output, K.
      null_directions: Number of output directions that are constant by construction; on a sphere there is one, the
        radius.
      tokens: Function (params, x, at, valid) -> the tokens at some positions, as `TokenEncoder.encode`; None for
        networks without tokens.
      grid: Numbers of rows and columns of these tokens, or None.
      token_dim: Width of these tokens.
      positions: Function params -> positions [rows * columns, D] of the tokens, if they differ by axis; None for sines
        and cosines.
      divided: Function x -> the numbers of a sample in each token, [rows * columns, P].
      log_volume: Function (params, x, key=None) -> log of the factor by which the network enlarges volumes at x, in
        nats, for networks that cannot fold; or None. With a key it is that of training, where units are dropped.
      inverse: Function (params, u) -> the sample whose embedding is the point u [D] of the unit cube before the output,
        for triangular networks; or None.
      start: Scale of the layers at the start, for a deep linear network.
      members: Maps that are trained side by side, each a function of the same params; () for a single network.
    """

    init: Callable[..., Params]
    apply: Callable[..., Array]
    dim: int
    null_directions: int = 0
    tokens: Callable[..., Array] | None = None
    grid: tuple[int, int] | None = None
    token_dim: int = 0
    positions: Callable[[Params], Array] | None = None
    divided: Callable[[Array], Array] | None = None
    log_volume: Callable[..., Array] | None = None
    inverse: Callable[[Params, Array], Array] | None = None
    start: float = 1.0
    members: tuple["Model", ...] = ()


def build(encoder: cfg.Encoder, shape: Shape, output: str, remat: bool = False) -> Model:
    """Build the encoder of a config.

    Its `init` takes the `mean` and `scale` that standardise the input, in addition to the key. They are stored with the
    weights, so that the encoder is a function of raw samples, and they are constant in training. A triangular network
    also takes `quantiles` [Q, D] of raw samples, at which its components start; None takes those of N(0, I). A
    transformer whose positions are `given` takes the `row_features` [H, G]. A deep linear network is a function of the
    sample as it is.

    Args:
      encoder: Encoder section of the config, with a known `dim`.
      shape: Shape of one sample.
      output: `free` or `sphere`; of a triangular network `cube`, `torus` or `gaussian`.
      remat: Store few activations for the backward pass and recompute the others.

    Raises:
      ConfigError: If the network needs images and the samples are not images, or sizes are incompatible.
    """
    if encoder.dim is None:
        raise ValueError("encoder.dim is not set; resolve the config first")
    network = ENCODERS[encoder.kind](encoder, shape, output, remat)
    nulls = network.null_directions + (1 if output == "sphere" else 0)
    return _of_raw_samples(network, shape)._replace(
        init=_init(encoder, network, shape),
        dim=encoder.dim,
        null_directions=nulls,
        members=tuple(_of_raw_samples(member, shape) for member in network.members),
    )


def _init(encoder: cfg.Encoder, network: Model, shape: Shape) -> Callable[..., Params]:
    """Return the `init` of `build`."""

    def init(  # of all members
        key: Array,
        mean: Array | float = 0.0,
        scale: Array | float = 1.0,
        quantiles: Array | None = None,
        features: np.ndarray | None = None,
    ) -> Params:
        ones = jnp.ones(shape, jnp.float32)
        start: tuple[Any, ...] = ()
        if isinstance(encoder, cfg.Linear):
            mean, scale = 0.0, 1.0
        if isinstance(encoder, cfg.ViT) and features is not None and network.grid is not None:
            start = (row_features(features, network.grid[0]),)
        if isinstance(encoder, cfg.Triangular):
            standard = None if quantiles is None else (quantiles - (mean * ones)[None]) / (scale * ones)[None]
            start = (None if standard is None else standard.reshape(len(standard), -1),)
        return {"network": network.init(key, *start), "input": {"mean": mean * ones, "scale": scale * ones}}

    return init


def _of_raw_samples(network: Model, shape: Shape) -> Model:
    """Return a network as functions of raw samples, which are standardised first."""

    def apply(params: Params, x: Array) -> Array:
        return network.apply(params["network"], standardised(params, x))

    def log_volume(params: Params, x: Array, key: Array | None = None) -> Array:
        assert network.log_volume is not None
        scale = jnp.broadcast_to(params["input"]["scale"], shape)
        inside = network.log_volume(params["network"], standardised(params, x), key)
        return inside - jnp.sum(jnp.log(jax.lax.stop_gradient(scale)))

    def tokens(params: Params, x: Array, at: Array | None = None, valid: Array | None = None) -> Array:
        assert network.tokens is not None
        return network.tokens(params["network"], standardised(params, x), at, valid)

    def positions(params: Params) -> Array:
        assert network.positions is not None
        return network.positions(params["network"])

    def inverse(params: Params, u: Array) -> Array:
        assert network.inverse is not None
        mean, scale = params["input"]["mean"], params["input"]["scale"]
        return network.inverse(params["network"], u).reshape(shape) * scale + mean

    return network._replace(
        apply=apply,
        log_volume=log_volume if network.log_volume else None,
        inverse=inverse if network.inverse else None,
        tokens=tokens if network.tokens else None,
        positions=positions if network.positions else None,
    )


def standardised(params: Params, x: Array) -> Array:
    """Standardise a sample for the network, by the constants that are stored with the weights."""
    # A crop may be smaller than the image; the constants are the same for all pixels.
    here = tuple(slice(n) for n in x.shape)
    mean, scale = (jax.lax.stop_gradient(params["input"][name])[here] for name in ("mean", "scale"))
    return (x - mean) / scale


def build_mlp(widths: tuple[int, ...]) -> Model:
    """Build an MLP from its widths, of which the first is that of the input and the last that of the output."""
    init, apply = _pure(lambda key: MLP(widths, "gelu", rngs=nnx.Rngs(key)))
    return Model(init, apply, widths[-1])


def build_linear_map(inputs: int, outputs: int, scale: float) -> Model:
    """Build a linear map without bias, which starts as the identity times a scale, cut or padded with zeros."""
    return Model(
        lambda key: {"kernel": scale * jnp.eye(inputs, outputs)}, lambda params, x: x @ params["kernel"], outputs
    )


def _dense(options: cfg.MLP, shape: Shape, output: str, remat: bool) -> Model:
    """Build an MLP on the flattened sample."""
    size, dim = math.prod(shape), _dim(options)

    def make(key: Array) -> Encoder:
        rngs = nnx.Rngs(key)
        network = MLP((size, *options.widths, dim), options.activation, rngs=rngs)
        return Encoder(network, _skip(options, size, rngs), output == "sphere")

    init, apply = _pure(make)
    apply = jax.checkpoint(apply) if remat else apply
    return Model(init, lambda params, x: apply(params, x.reshape(-1)), dim)


def _convolutional(options: cfg.Conv, shape: Shape, output: str, remat: bool) -> Model:
    """Build a convolutional network on images."""
    if len(shape) != 3:
        raise ConfigError(_no_images("conv", shape))
    height, width, channels = shape
    dim = _dim(options)

    def make(key: Array) -> Encoder:
        rngs = nnx.Rngs(key)
        network = ConvNet((height, width, channels), options.widths, dim, options.activation, rngs=rngs)
        return Encoder(network, _skip(options, math.prod(shape), rngs), output == "sphere")

    init, apply = _pure(make)
    return Model(init, jax.checkpoint(apply) if remat else apply, dim)


def _transformer(options: cfg.ViT, shape: Shape, output: str, remat: bool) -> Model:
    """Build a transformer whose embedding is the mean token, or a linear map of it if K is not the width of a token.

    Other readouts are one more register, or all tokens.
    """
    dim, flat = _dim(options), options.readout == "flatten"
    try:
        tokeniser = TOKENISERS[options.tokens](options, shape)
        body = _body(options, tokeniser.grid, remat)
        numbers = math.prod(tokeniser.grid) * options.width if flat else body.dim
        if dim != numbers:
            what = "all tokens have" if flat else "the embedding has"
            raise ValueError(f"`encoder.dim` is {dim}, but {what} {numbers} numbers; leave it out")
        axes = options.row_positions, options.column_positions
        whole = isinstance(options, cfg.PretrainedViT) or axes == ("sincos", "sincos")
        places = None if whole else GridPositions(*axes, options.row_features)
        network = TokenEncoder(tokeniser, body, places)
        jax.eval_shape(network.init, jax.random.key(0))
    except ValueError as error:
        raise ConfigError(f"`encoder.kind` vit: {error}") from None
    table = len(shape) == 1

    def image(x: Array) -> Array:
        return x[:, None, None] if table else x  # the columns of a table are the rows of the grid

    def apply(params: Params, x: Array) -> Array:
        z = network.encode(params, image(x)).reshape(-1) if flat else network.apply(params, image(x))
        return on_sphere(z) if output == "sphere" else z

    def tokens(params: Params, x: Array, *at: Any) -> Array:
        return network.encode(params, image(x), *at)

    def positions(params: Params) -> Array:
        return network.positions(params)[int(body.class_token) :]

    return Model(
        network.init,
        apply,
        dim,
        2 * math.prod(tokeniser.grid) if flat else body.null_directions,  # a layer norm fixes two of a token
        tokens,
        tokeniser.grid,
        token_dim=options.width if flat else dim,
        positions=None if places is None else positions,
        divided=lambda x: tokeniser.divided(image(x)),
    )


def _body(options: cfg.ViT, grid: tuple[int, int], remat: bool) -> Transformer:
    """Return the transformer over the tokens of a grid."""
    sizes: dict[str, Any] = {name: getattr(options, name) for name in ("width", "depth", "heads", "registers")}
    if isinstance(options, cfg.PretrainedViT):
        variants = {
            f.name: getattr(options, f.name) for f in dataclasses.fields(Transformer) if hasattr(options, f.name)
        }
        return Transformer(grid, remat=remat, **variants)
    register, dim = options.readout == "register", _dim(options)
    return Transformer(
        grid,
        class_token=register,
        positions="sincos",
        pooling="class" if register else "mean",
        projection=None if options.readout == "flatten" or dim == options.width else dim,
        remat=remat,
        **sizes,
    )


def _linear(options: cfg.Linear, shape: Shape, output: str, remat: bool) -> Model:
    """Build a deep linear network on the flattened sample."""
    size = math.prod(shape)
    init, apply = _pure(lambda key: DeepLinear(size, options.depth, options.start, rngs=nnx.Rngs(key)))
    return Model(init, lambda params, x: apply(params, x.reshape(-1)), size, start=options.start)


def _triangular(options: cfg.Triangular, shape: Shape, output: str, remat: bool) -> Model:
    """Build triangular maps of the flattened sample; their `init` also takes quantiles of the standardised data.

    The first of several is that of a single one, and the orders of the others follow in turn.
    """
    size = math.prod(shape)
    widths = options.widths or (max(LEAST_WIDTH, 2 * size),) * 3
    if min(widths) < size - 1:
        raise ConfigError(
            f"`encoder.widths` {list(widths)} are too narrow for {size} coordinates, each of which depends on "
            f"all before it; use at least {size - 1}"
        )
    _, components, dropout, kernel = next(entry for entry in SIZES if size <= entry[0])
    components = options.components or components
    dropout = dropout if options.dropout is None else options.dropout
    kernel = kernel if options.kernel is None else options.kernel
    dim = 2 * size if output == "torus" else size

    def one(order: str) -> Model:
        def make(key: Array, quantiles: Array | None = None) -> Triangular:
            how = {"kernel": kernel, "dropout": dropout}
            return Triangular(size, widths, components, order, quantiles, **how, rngs=nnx.Rngs(key))

        init, mixtures, inverse = _pure(make, "inverse")
        mixtures = jax.checkpoint(mixtures) if remat else mixtures

        def apply(params: Params, x: Array) -> Array:
            return OUTPUTS[output](mixtures(params, x.reshape(-1)))

        def log_volume(params: Params, x: Array, key: Array | None = None) -> Array:
            return log_volume_to(output, mixtures(params, x.reshape(-1), key))

        return Model(init, apply, dim, dim - size, log_volume=log_volume, inverse=inverse)

    if options.members == 1:
        return one(options.order)
    # A permutation or a rotation is drawn anew for each map; the two other orders exist once.
    drawn = "rotated" if size <= ROTATED_SIZE else "permuted"
    once = [order for order in ("identity", "reversed") if order != options.order]
    orders = [options.order, *once, *[drawn] * options.members][: options.members]
    return _side_by_side([one(order) for order in orders])


def _side_by_side(maps: list[Model]) -> Model:
    """Return maps as the members of one network, which itself acts as the first of them."""

    def inside(number: int, f: Callable[..., Array]) -> Callable[..., Array]:
        return lambda params, x, *key: f(params[f"member_{number}"], x, *key)

    def init(key: Array, *start: Any) -> Params:
        keys = jax.random.split(key, len(maps))
        return {f"member_{i}": model.init(keys[i], *start) for i, model in enumerate(maps)}

    def member(number: int) -> Model:
        model = maps[number]
        assert model.log_volume is not None
        assert model.inverse is not None
        functions = {"apply": model.apply, "log_volume": model.log_volume, "inverse": model.inverse}
        return model._replace(**{name: inside(number, f) for name, f in functions.items()})

    members = tuple(member(i) for i in range(len(maps)))
    return members[0]._replace(init=init, members=members)


# Functions (options, shape of a sample, output, remat) -> the network, for standardised samples.
ENCODERS: dict[str, Callable[..., Model]] = {
    "mlp": _dense,
    "conv": _convolutional,
    "vit": _transformer,
    "pretrained": _transformer,
    "triangular": _triangular,
    "linear": _linear,
}


def _dim(options: cfg.MLP | cfg.Conv | cfg.ViT) -> int:
    assert options.dim is not None
    return options.dim


def _skip(options: cfg.MLP, size: int, rngs: nnx.Rngs) -> nnx.Linear | None:
    """Return the linear path beside the network, or None."""
    if not options.skip:
        return None
    return nnx.Linear(size, _dim(options), use_bias=False, kernel_init=nnx.initializers.orthogonal(), rngs=rngs)


def _no_images(kind: str, shape: Shape) -> str:
    return f"`encoder.kind` {kind} needs images [H, W, C], but a sample has shape {list(shape)}; use mlp"


def _pure(make: Callable[..., Any], *methods: str) -> tuple[Callable[..., Any], ...]:
    """Return the initialisation of a module, the module, and some of its methods as pure functions of the weights."""
    graph = nnx.graphdef(nnx.eval_shape(make, jax.random.key(0)))

    def init(key: Array, *start: Any) -> Params:
        return nnx.to_pure_dict(nnx.state(make(key, *start), nnx.Param))

    def pure(name: str) -> Callable[..., Any]:
        return lambda params, x, *key: getattr(nnx.merge(graph, params), name)(x, *key)

    return init, *(pure(name) for name in ("__call__", *methods))
