"""What each recipe predicts: (params, target, views, key) -> prediction, and the embeddings that must not collapse.

Views come in groups of one size: the large ones [V, B, ...], and the small ones where there are any.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.errors import ConfigError
from jepa_jax.masking import Masking, multi_block
from jepa_jax.models import Model
from jepa_jax.models.networks import on_sphere
from jepa_jax.views import Views

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
      predict: (params, target, extra, views, key) -> Outcome. `target` has the parts that the moving average follows,
        or is the parameters themselves where there is none.
      extra: what is carried at the first step.
    """

    predict: Callable[[Params, Params, Params, Views, Array], Outcome]
    extra: Params


def build_task(config: cfg.Config, parts: dict[str, Model], shape: tuple[int, ...]) -> Task:
    """The task of a resolved config."""
    options = config.objective
    parts = {name: _computing_in(config.optim.compute, model) for name, model in parts.items()}
    sphere = objectives.TERMS[options.anti_collapse].output == "sphere"
    embed = Embed(parts, sphere, config.optim.accumulate)
    if options.recipe == "multiview":
        return Task(_multiview(embed), {})
    if options.recipe == "masked":
        return Task(_masked(embed, config, shape), {})
    if options.recipe == "distill":
        extra = {"centre": jnp.zeros(options.prototypes)} if options.targets == "centring" else {}
        return Task(_distill(embed, parts["head"], config), extra)
    sphere = config.encoder.output == "sphere" or (bool(options.projector) and embed.sphere)
    return Task(_pair(embed, parts.get("predictor"), sphere), {})


def _computing_in(dtype: str, model: Model) -> Model:
    """The same network, with its weights and inputs cast to a type, and its outputs back to float32."""
    if dtype == "float32":
        return model

    def cast(tree: Any, to: Any) -> Any:
        return jax.tree.map(lambda a: a.astype(to) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)

    def lowered(f: Callable[..., Array]) -> Callable[..., Array]:
        def g(*args: Any) -> Array:
            with jax.numpy_dtype_promotion("standard"):  # flax's layer norm takes its statistics in float32
                return cast(f(*cast(args, dtype)), jnp.float32)

        return g

    tokens = None if model.tokens is None else lowered(model.tokens)
    return model._replace(apply=lowered(model.apply), tokens=tokens)


def in_parts(f: Callable[[Params, Any], Any], parts: int) -> Callable[[Params, Any], Any]:
    """(params, batch [B, ...]) -> [B, ...], a part of the batch at a time, with the activations of one part in memory.

    This is gradient accumulation that leaves the losses their whole batch: the backward pass goes through the parts
    again, one after the other, and computes each one's activations a second time.
    """
    if parts == 1:
        return f

    def whole(params: Params, batch: Any) -> Any:
        # Every parts-th sample, so that each part is spread over the devices as the batch is.
        split = jax.tree.map(lambda a: jnp.swapaxes(a.reshape(-1, parts, *a.shape[1:]), 0, 1), batch)
        out = jax.lax.map(lambda part: jax.checkpoint(f)(params, part), split)
        return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1).reshape(-1, *a.shape[2:]), out)

    return whole


class Embed:
    """(params, views) -> [V, B, K]: encoder, and projector where there is one."""

    def __init__(self, parts: dict[str, Model], sphere: bool, accumulate: int = 1) -> None:
        self.parts, self.sphere, self.accumulate = parts, sphere, accumulate

    def __call__(self, params: Params, views: Views) -> Array:
        """What the losses compare, of all views."""
        # Samples first, as the devices divide them.
        groups = [jnp.swapaxes(group, 0, 1) for group in views]
        z = in_parts(self._of_samples, self.accumulate)(params, groups)
        return jnp.swapaxes(z, 0, 1)

    def _of_samples(self, params: Params, groups: list[Array]) -> Array:
        """Views [B, V, ...] of each size -> [B, V, K], those of all sizes one after the other."""
        return jnp.concatenate([self._of_group(params, group) for group in groups], axis=1)

    def _of_group(self, params: Params, group: Array) -> Array:
        # One flat batch: a second vmap would make the matrix products batched ones, which are slower.
        flat = group.reshape(-1, *group.shape[2:])
        z = jax.vmap(self.parts["encoder"].apply, (None, 0))(params["encoder"], flat)
        if "projector" in self.parts:
            z = jax.vmap(self.parts["projector"].apply, (None, 0))(params["projector"], z)
            z = jax.vmap(on_sphere)(z) if self.sphere else z
        return z.reshape(*group.shape[:2], -1)


def _pair(embed: Embed, predictor: Model | None, sphere: bool) -> Callable[..., Outcome]:
    """Each view predicts the other; for a shared encoder without predictor the two halves are equal."""

    def predict(params: Params, target: Params, extra: Params, views: Views, key: Array) -> Outcome:
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


def _multiview(embed: Embed) -> Callable[..., Outcome]:
    """Every view predicts the mean of the large ones. Balestriero & LeCun, "LeJEPA", arXiv 2511.08544, section 5."""

    def predict(params: Params, target: Params, extra: Params, views: Views, key: Array) -> Outcome:
        del key
        z, large = embed(params, views), len(views[0])
        targets = z if target is params else embed(target, views[:1])
        centre = jnp.mean(targets[:large], axis=0, keepdims=True)
        return Outcome(objectives.prediction(z, jnp.broadcast_to(centre, z.shape)), z, extra)

    return predict


def _masked(embed: Embed, config: cfg.Config, shape: tuple[int, ...]) -> Callable[..., Outcome]:
    """The normed tokens of hidden blocks from those of the visible patches. Assran et al., arXiv 2301.08243."""
    side = shape[0] // config.encoder.patch_size
    try:
        # A grid of two by two cannot leave four patches and hide one.
        masking = Masking(side, config.objective.mask_blocks, min_context=max(1, min(4, side**2 // 4)))
    except ValueError as error:
        raise ConfigError(f"--objective.recipe masked: {error}") from None
    tokens, predictor = embed.parts["encoder"].tokens, embed.parts["predictor"]
    assert tokens is not None

    def one(params: Params, target: Params, x: Array, key: Array) -> Array:
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

        return jnp.mean(jax.vmap(block)(masks.targets, masks.targets_valid))

    def some(both: Params, batch: tuple[Array, Array]) -> Array:
        return jax.vmap(one, (None, None, 0, 0))(both["params"], both["target"], *batch)

    def predict(params: Params, target: Params, extra: Params, views: Views, key: Array) -> Outcome:
        batch = views[0][0], jax.random.split(key, views[0].shape[1])
        error = in_parts(some, config.optim.accumulate)({"params": params, "target": target}, batch)
        # Of whole images: the visible patches' mean varies with the mask too, which alone would look spread out.
        return Outcome(error, embed(params, (views[0][:1],)), extra)

    return predict


def _normed(x: Array) -> Array:
    """Tokens [N, D] with mean 0 and variance 1: targets of one size, whatever the encoder's gain."""
    centre = x - jnp.mean(x, axis=-1, keepdims=True)
    return centre * jax.lax.rsqrt(jnp.mean(centre**2, axis=-1, keepdims=True) + 1e-6)


def _distill(embed: Embed, head: Model, config: cfg.Config) -> Callable[..., Outcome]:
    """The teacher's distribution over prototypes from every other view. Caron et al., arXiv 2104.14294."""
    options = config.objective
    heads = jax.vmap(jax.vmap(head.apply, (None, 0)), (None, 0))

    def predict(params: Params, target: Params, extra: Params, views: Views, key: Array) -> Outcome:
        del key
        z = embed(params, views)
        logits = jax.lax.stop_gradient(heads(target["head"], embed(target, views[:1])))
        if options.targets == "sinkhorn":
            teacher = objectives.sinkhorn(logits, temperature=options.teacher_temperature)
            after = extra
        else:
            teacher = objectives.centred(logits, extra["centre"], temperature=options.teacher_temperature)
            mean = jnp.mean(logits, axis=(0, 1))
            after = {"centre": CENTRE_DECAY * extra["centre"] + (1 - CENTRE_DECAY) * mean}
        student = heads(params["head"], z)
        temperature = 0.1 if options.temperature is None else options.temperature
        return Outcome(objectives.distillation(student, teacher, temperature=temperature), z[: len(views[0])], after)

    return predict
