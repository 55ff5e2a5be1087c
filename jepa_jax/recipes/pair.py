"""Prediction of one of two views from the other: of its embedding, its tokens, or the view itself."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.errors import ConfigError
from jepa_jax.models import Model, build_linear_map, build_mlp
from jepa_jax.recipes.base import Batch, Loss, Outcome, Params, Recipe, Setting, each_token
from jepa_jax.targets import normed


def _check(options: cfg.Pair, encoder: cfg.Encoder, views: cfg.Views) -> None:
    if isinstance(views, cfg.Crops) and (total := views.global_views + views.local_views) != 2:
        raise ConfigError(f"`recipe.kind` pair compares two views, not {total}; use multiview")
    if options.target == "tokens" and not isinstance(encoder, cfg.ViT):
        raise ConfigError(f"`recipe.target` tokens needs `encoder.kind` vit, not {encoder.kind}")
    if options.target == "tokens" and options.projector:
        raise ConfigError("`recipe.target` tokens compares those of the encoder; leave out `recipe.projector`")


def _networks(options: cfg.Pair, encoder: Model, dim: int, remat: bool) -> dict[str, Model]:
    if not options.predictor:
        return {}
    inputs = outputs = encoder.token_dim if options.target == "tokens" else dim
    if options.target == "sample":
        outputs = jax.eval_shape(encoder.init, jax.random.key(0))["input"]["mean"].size
    if options.predictor == "linear":
        return {"predictor": build_linear_map(inputs + options.conditions, outputs, encoder.start)}
    return {"predictor": build_mlp((inputs + options.conditions, *options.predictor, outputs))}


def _loss(setting: Setting) -> Loss:
    """Return the loss: the mean distance of both predictions, or that of the second view from the first."""
    options, embed = setting.options, setting.embed
    predict = _prediction(setting)

    def targets(params: Params, teacher: Params, batch: Batch, read: Array) -> Array:
        """Return the targets of all views, [V, B, ...], where `read` are those of the network itself."""
        if options.target == "sample":
            return jnp.concatenate([group.reshape(*group.shape[:2], -1) for group in batch.views])
        if teacher is not params:
            of = embed.tokens if options.target == "tokens" else embed
            read = jax.lax.stop_gradient(of(teacher, batch.views))
        elif options.stop_gradient:
            read = jax.lax.stop_gradient(read)
        return normed(read) if options.target == "tokens" else read

    def loss(params: Params, teacher: Params, extra: Params, batch: Batch) -> Outcome:
        tokens = options.target == "tokens"
        z = None if tokens and setting.on_tokens else embed(params, batch.views)
        read = embed.tokens(params, batch.views) if tokens or setting.on_tokens else z
        used = read if tokens else z
        assert used is not None
        predicted, wanted = predict(params, used, batch.condition), targets(params, teacher, batch, used)
        if options.direction == "forward":
            predicted, wanted = predicted[:1], wanted[1:]
        else:
            wanted = wanted[::-1]
        error = objectives.distance(setting.distance, predicted, wanted, mean=tokens)
        error = jnp.mean(error, axis=-1) if tokens else error
        spread = each_token(read) if setting.on_tokens and read is not None else z
        if setting.contrasts and options.direction == "forward" and options.target == "embedding":
            # Views of two laws, such as a mix and a voice, are far from each other where all targets are one point.
            spread = jnp.concatenate([predicted, wanted])
        assert spread is not None
        return Outcome(error, spread, extra)

    return loss


def _prediction(setting: Setting) -> Callable[[Params, Array, Array | None], Array]:
    """Return a function (params, z [V, B, ..., K], conditions [B, C] or None) -> predictions [V, B, ..., F]."""
    predictor = setting.networks.get("predictor")

    def predict(params: Params, z: Array, condition: Array | None) -> Array:
        if predictor is None:
            return z
        if condition is not None:
            between = (1,) * (z.ndim - 3)
            c = condition.reshape(1, len(condition), *between, condition.shape[1])
            z = jnp.concatenate([z, jnp.broadcast_to(c, (*z.shape[:-1], c.shape[-1]))], axis=-1)
        flat = jax.vmap(predictor.apply, (None, 0))(params["predictor"], z.reshape(-1, z.shape[-1]))
        p = flat.reshape(*z.shape[:-1], -1)
        if setting.sphere and setting.options.target == "embedding":
            p = p * jax.lax.rsqrt(jnp.sum(p**2, axis=-1, keepdims=True) + 1e-12)
        return p

    return predict


PAIR = Recipe(_check, _networks, _loss)
