"""What each recipe predicts: (params, target, views, key) -> prediction, and the embeddings that must not collapse."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.masking import Masking, multi_block
from jepa_jax.models import Model
from jepa_jax.models.networks import on_sphere

Params = dict[str, Any]
CENTRE_DECAY = 0.9  # of the teacher's running mean, as in DINO


class Outcome(NamedTuple):
    """Attributes:
    prediction: [..., B], of each sample, before the mean.
    embedding: [V, B, K], what the anti-collapse term gets.
    extra: what the recipe carries from step to step beside parameters.
    """

    prediction: Array
    embedding: Array
    extra: Params


class Task(NamedTuple):
    """A recipe.

    Attributes:
      predict: (params, target, extra, views [V, B, ...], key) -> Outcome. `target` has the parts that the moving
        average follows, or is the parameters themselves where there is none.
      extra: what is carried at the first step.
    """

    predict: Callable[[Params, Params, Params, Array, Array], Outcome]
    extra: Params


def build_task(config: cfg.Config, parts: dict[str, Model], shape: tuple[int, ...]) -> Task:
    """The task of a resolved config."""
    options = config.objective
    embed = Embed(parts, sphere=objectives.CRITERIA[options.anti_collapse].output == "sphere")
    if options.recipe == "multiview":
        return Task(_multiview(embed, config.views.global_views), {})
    if options.recipe == "masked":
        return Task(_masked(parts, config, shape), {})
    if options.recipe == "distill":
        extra = {"centre": jnp.zeros(options.prototypes)} if options.targets == "centring" else {}
        return Task(_distill(embed, parts["head"], config), extra)
    sphere = config.encoder.output == "sphere" or (bool(options.projector) and embed.sphere)
    return Task(_pair(embed, parts.get("predictor"), sphere), {})


class Embed:
    """(params, views [V, B, ...]) -> [V, B, K]: encoder, and projector where there is one."""

    def __init__(self, parts: dict[str, Model], sphere: bool) -> None:
        self.parts, self.sphere = parts, sphere

    def __call__(self, params: Params, views: Array) -> Array:
        """What the losses compare."""
        # One flat batch: a second vmap would make the matrix products batched ones, which are slower.
        flat = views.reshape(-1, *views.shape[2:])
        z = jax.vmap(self.parts["encoder"].apply, (None, 0))(params["encoder"], flat)
        if "projector" in self.parts:
            z = jax.vmap(self.parts["projector"].apply, (None, 0))(params["projector"], z)
            z = jax.vmap(on_sphere)(z) if self.sphere else z
        return z.reshape(*views.shape[:2], -1)


def _pair(embed: Embed, predictor: Model | None, sphere: bool) -> Callable[..., Outcome]:
    """Each view predicts the other; for a shared encoder without predictor the two halves are equal."""

    def predict(params: Params, target: Params, extra: Params, views: Array, key: Array) -> Outcome:
        del key
        z = embed(params, views)
        targets = z if target is params else embed(target, views)
        p = z
        if predictor is not None:
            p = jax.vmap(jax.vmap(predictor.apply, (None, 0)), (None, 0))(params["predictor"], z)
            if sphere:
                p = p * jax.lax.rsqrt(jnp.sum(p**2, axis=-1, keepdims=True) + 1e-12)
        return Outcome(objectives.prediction(p, targets[::-1]), z, extra)

    return predict


def _multiview(embed: Embed, global_views: int) -> Callable[..., Outcome]:
    """Every view predicts the mean of the large ones. Balestriero & LeCun, "LeJEPA", arXiv 2511.08544, section 5."""

    def predict(params: Params, target: Params, extra: Params, views: Array, key: Array) -> Outcome:
        del key
        z = embed(params, views)
        targets = z if target is params else embed(target, views[:global_views])
        centre = jnp.mean(targets[:global_views], axis=0, keepdims=True)
        return Outcome(objectives.prediction(z, jnp.broadcast_to(centre, z.shape)), z, extra)

    return predict


def _masked(parts: dict[str, Model], config: cfg.Config, shape: tuple[int, ...]) -> Callable[..., Outcome]:
    """The normed tokens of hidden blocks from those of the visible patches. Assran et al., arXiv 2301.08243."""
    try:
        masking = Masking(shape[0] // config.encoder.patch_size, config.objective.mask_blocks)
    except ValueError as error:
        raise cfg.ConfigError(f"--objective.recipe masked: {error}") from None
    tokens, predictor = parts["encoder"].tokens, parts["predictor"]
    assert tokens is not None

    def one(params: Params, target: Params, x: Array, key: Array) -> tuple[Array, Array]:
        masks = multi_block(key, masking)
        whole = jax.lax.stop_gradient(tokens(target["encoder"], x))
        context = tokens(params["encoder"], x, masks.context, masks.context_valid)

        def block(at: Array, valid: Array) -> Array:
            given = (context, masks.context, masks.context_valid)
            predicted = predictor.apply(params["predictor"], *given, at, valid)  # type: ignore[call-arg]
            wanted = _normed(whole[at])
            error = jnp.mean((predicted - wanted) ** 2, axis=-1)
            counted = valid.astype(error.dtype)
            return jnp.sum(error * counted) / jnp.sum(counted)

        error = jnp.mean(jax.vmap(block)(masks.targets, masks.targets_valid))
        seen = masks.context_valid.astype(context.dtype)
        return error, seen @ context / jnp.sum(seen)

    def predict(params: Params, target: Params, extra: Params, views: Array, key: Array) -> Outcome:
        keys = jax.random.split(key, views.shape[1])
        error, z = jax.vmap(one, (None, None, 0, 0))(params, target, views[0], keys)
        return Outcome(error, z[None], extra)

    return predict


def _normed(x: Array) -> Array:
    """Tokens [N, D] with mean 0 and variance 1: targets of one size, whatever the encoder's gain."""
    centre = x - jnp.mean(x, axis=-1, keepdims=True)
    return centre * jax.lax.rsqrt(jnp.mean(centre**2, axis=-1, keepdims=True) + 1e-6)


def _distill(embed: Embed, head: Model, config: cfg.Config) -> Callable[..., Outcome]:
    """The teacher's distribution over prototypes from every other view. Caron et al., arXiv 2104.14294."""
    options, large = config.objective, config.views.global_views
    heads = jax.vmap(jax.vmap(head.apply, (None, 0)), (None, 0))

    def predict(params: Params, target: Params, extra: Params, views: Array, key: Array) -> Outcome:
        del key
        z = embed(params, views)
        logits = jax.lax.stop_gradient(heads(target["head"], embed(target, views[:large])))
        if options.targets == "sinkhorn":
            teacher = objectives.sinkhorn(logits, temperature=options.teacher_temperature)
            after = extra
        else:
            teacher = objectives.centred(logits, extra["centre"], temperature=options.teacher_temperature)
            mean = jnp.mean(logits, axis=(0, 1))
            after = {"centre": CENTRE_DECAY * extra["centre"] + (1 - CENTRE_DECAY) * mean}
        student = heads(params["head"], z)
        temperature = 0.1 if options.temperature is None else options.temperature
        return Outcome(objectives.distillation(student, teacher, temperature=temperature), z[:large], after)

    return predict
