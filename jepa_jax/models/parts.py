"""The networks that a run trains, by name: the encoder, and what its recipe needs beside it."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax.config import Config
from jepa_jax.errors import ConfigError
from jepa_jax.models.build import Model, Params, build, build_mlp, build_predictor
from jepa_jax.models.networks import on_sphere
from jepa_jax.models.predictor import Predictor, init_predictor, predict_tokens

HEAD = (256, 64)  # of `distill`: hidden width and bottleneck, as DINO's head, but smaller
PREDICTOR_HEADS = 3


def build_parts(config: Config, shape: tuple[int, ...]) -> dict[str, Model]:
    """Every network of a resolved config.

    Returns:
      `encoder`, and where the recipe has them `projector`, `predictor` (of embeddings, or of tokens) and `head` (from
      an embedding to logits over prototypes).

    Raises:
      ConfigError: the recipe and the encoder do not go together.
    """
    options = config.objective
    parts = {"encoder": build(config.encoder, shape, config.encoder.output, config.optim.remat)}
    dim = parts["encoder"].dim
    if options.projector:
        parts["projector"] = build_mlp((dim, *options.projector))
        dim = options.projector[-1]
    if options.recipe == "masked":
        parts["predictor"] = _token_predictor(config, shape)
    elif options.predictor:
        parts["predictor"] = build_predictor(options.predictor, dim)
    if options.recipe == "distill":
        parts["head"] = _head(dim, options.prototypes)
    return parts


def init_parts(parts: dict[str, Model], key: Array, mean: Array | float = 0.0, scale: Array | float = 1.0) -> Params:
    """Random weights of each; `mean` and `scale` standardise the encoder's input."""
    encoder_key, key = jax.random.split(key)
    params = {"encoder": parts["encoder"].init(encoder_key, mean, scale)}
    others = [name for name in parts if name != "encoder"]
    # One other part takes the key as it is: a run with a predictor stays the run it was.
    keys = [key] if len(others) == 1 else jax.random.split(key, len(others)) if others else []
    return params | {name: parts[name].init(k) for name, k in zip(others, keys, strict=True)}


def followed(params: Params) -> Params:
    """The parts that a moving average follows to make targets: all from the sample to what is predicted."""
    return {name: params[name] for name in ("encoder", "projector", "head") if name in params}


def _token_predictor(config: Config, shape: tuple[int, ...]) -> Model:
    encoder, options = config.encoder, config.objective
    if encoder.kind != "vit":
        raise ConfigError(f"`objective.recipe` masked hides patches: it needs `encoder.kind` vit, not {encoder.kind}")
    try:
        sizes = Predictor(
            shape[0] // encoder.patch_size,
            encoder.dim or encoder.width,
            options.predictor_width,
            options.predictor_depth,
            PREDICTOR_HEADS,
            config.optim.remat,
        )
        jax.eval_shape(partial(init_predictor, sizes), jax.random.key(0))
    except ValueError as error:
        raise ConfigError(f"`objective.predictor_width` {options.predictor_width}: {error}") from None
    # Its function takes more than a model's usually does: see `predict_tokens`.
    return Model(partial(init_predictor, sizes), partial(predict_tokens, sizes), encoder.width)  # type: ignore[arg-type]


def _head(dim: int, prototypes: int) -> Model:
    """An MLP to a small sphere, and the cosines with unit prototypes: [K] -> [P]."""
    hidden, bottleneck = HEAD
    mlp = build_mlp((dim, hidden, hidden, bottleneck))

    def init(key: Array) -> Params:
        one, two = jax.random.split(key)
        return {"mlp": mlp.init(one), "prototypes": {"kernel": jax.random.normal(two, (bottleneck, prototypes))}}

    def apply(params: Params, z: Array) -> Array:
        kernel = params["prototypes"]["kernel"]
        unit = kernel * jax.lax.rsqrt(jnp.sum(kernel**2, axis=0, keepdims=True) + 1e-12)
        return on_sphere(mlp.apply(params["mlp"], z)) @ unit

    return Model(init, apply, prototypes)
