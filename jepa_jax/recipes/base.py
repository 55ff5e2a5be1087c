"""Interface of a recipe, and shared functions: embedding of views, and computing in parts or in a lower precision."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.models import Model
from jepa_jax.models.networks import on_sphere
from jepa_jax.views import Views

Params = dict[str, Any]


class Outcome(NamedTuple):
    """Result of a recipe's loss for a batch.

    Attributes:
      prediction: Prediction term of each sample, before the mean, [..., B].
      embedding: Input of the anti-collapse term, [V, B, K].
      extra: Values other than parameters that the recipe carries from step to step.
      log_volume: Log of the factor by which the encoder enlarges volumes at each view, [V, B], for the term `entropy`;
        or None.
    """

    prediction: Array
    embedding: Array
    extra: Params
    log_volume: Array | None = None


class Batch(NamedTuple):
    """What a loss knows of a step.

    Attributes:
      views: Views of the examples, [V, B, ...] in groups of one size.
      key: Key of the step.
      progress: Progress of the run, from 0 to 1.
      condition: Numbers [B, C] that are known when one view is predicted from another; or None.
    """

    views: Views
    key: Array
    progress: Array
    condition: Array | None = None


# (params, teacher, extra, batch) -> Outcome. `teacher` has the networks that the teacher averages, or is `params`
# itself if there is no teacher.
Loss = Callable[[Params, Params, Params, Batch], Outcome]


class Setting(NamedTuple):
    """Components from which the loss of a recipe is built.

    Attributes:
      options: Recipe section of the config.
      networks: Networks by name.
      embed: Function from views to the embeddings or projections that the losses compare.
      sphere: Whether these are on the unit sphere.
      distance: Name of the distance of predictions from targets.
      on_tokens: Whether the anti-collapse term acts on tokens.
      contrasts: Whether it compares the samples of one view with those of the other.
    """

    options: Any
    networks: dict[str, Model]
    embed: "Embed"
    sphere: bool
    distance: str = "l2"
    on_tokens: bool = False
    contrasts: bool = False


class Recipe(NamedTuple):
    """Recipe as functions of its section of the config.

    Attributes:
      check: Function (options, encoder, views) -> None, which raises ConfigError if they are incompatible.
      networks: Function (options, encoder, width of the input of the losses, remat) -> networks beside the encoder, by
        name.
      loss: Function setting -> the loss.
      extra: Function options -> values other than parameters that the loss carries, at the first step.
      teacher_is_result: Whether the teacher, if there is one, is the result of a run.
      views_read: Function options -> number of views of an example that the loss reads; None for all.
    """

    check: Callable[[Any, cfg.Encoder, cfg.Views], None]
    networks: Callable[[Any, Model, int, bool], dict[str, Model]]
    loss: Callable[[Setting], Loss]
    extra: Callable[[Any], Params] = lambda options: {}
    teacher_is_result: bool = False
    views_read: Callable[[Any], int | None] = lambda options: None


class Embed:
    """Function (params, views) -> [V, B, K]: the encoder, followed by the projector if there is one."""

    def __init__(self, networks: dict[str, Model], sphere: bool, accumulate: int = 1) -> None:
        """Set the networks.

        Args:
          networks: `encoder`, and optionally `projector`.
          sphere: Whether projections are divided by their norm.
          accumulate: Number of parts in which a batch passes through the networks.
        """
        self.networks, self.sphere, self.accumulate = networks, sphere, accumulate

    def tokens(self, params: Params, views: Views) -> Array:
        """Return the tokens of all views, [V, B, N, E]."""
        encode = self.networks["encoder"].tokens
        assert encode is not None

        def of_samples(params: Params, groups: list[Array]) -> Array:
            flat = [jax.vmap(encode, (None, 0))(params["encoder"], g.reshape(-1, *g.shape[2:])) for g in groups]
            each = [z.reshape(*g.shape[:2], *z.shape[1:]) for z, g in zip(flat, groups, strict=True)]
            return jnp.concatenate(each, axis=1)

        z = in_parts(of_samples, self.accumulate)(params, [jnp.swapaxes(group, 0, 1) for group in views])
        return jnp.swapaxes(z, 0, 1)

    def __call__(self, params: Params, views: Views) -> Array:
        """Return the embeddings or projections of all views, [V, B, K]."""
        # Put the samples on the first axis, which the devices divide.
        groups = [jnp.swapaxes(group, 0, 1) for group in views]
        z = in_parts(self._of_samples, self.accumulate)(params, groups)
        return jnp.swapaxes(z, 0, 1)

    def _of_samples(self, params: Params, groups: list[Array]) -> Array:
        """Map views [B, V, ...] of each size to [B, V, K], in which those of all sizes follow each other."""
        return jnp.concatenate([self._of_group(params, group) for group in groups], axis=1)

    def _of_group(self, params: Params, group: Array) -> Array:
        # Use one flat batch: a second vmap would batch the matrix products, which is slower.
        flat = group.reshape(-1, *group.shape[2:])
        z = jax.vmap(self.networks["encoder"].apply, (None, 0))(params["encoder"], flat)
        if "projector" in self.networks:
            z = jax.vmap(self.networks["projector"].apply, (None, 0))(params["projector"], z)
            z = jax.vmap(on_sphere)(z) if self.sphere else z
        return z.reshape(*group.shape[:2], -1)


def each_token(tokens: Array) -> Array:
    """Return tokens [V, B, N, E] as embeddings of V N views, [V N, B, E], each compared across the batch."""
    views, batch, count, width = tokens.shape
    return jnp.moveaxis(tokens, 2, 1).reshape(views * count, batch, width)


def in_parts(f: Callable[[Params, Any], Any], parts: int) -> Callable[[Params, Any], Any]:
    """Apply f to a batch in parts, so that only the activations of one part are in memory.

    This is gradient accumulation for losses over the whole batch: the backward pass visits the parts again, one after
    the other, and recomputes the activations of each.

    Args:
      f: Function (params, batch [B, ...]) -> [B, ...], which treats samples independently.
      parts: Number of parts; it must divide B.

    Returns:
      Function with the same arguments and result as `f`.
    """
    if parts == 1:
        return f

    def whole(params: Params, batch: Any) -> Any:
        # A part has every parts-th sample, so that it is divided among the devices in the same way as the batch.
        split = jax.tree.map(lambda a: jnp.swapaxes(a.reshape(-1, parts, *a.shape[1:]), 0, 1), batch)
        out = jax.lax.map(lambda part: jax.checkpoint(f)(params, part), split)
        return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1).reshape(-1, *a.shape[2:]), out)

    return whole


def computing_in(dtype: str, model: Model) -> Model:
    """Return the same network with its weights and inputs cast to a type, and its outputs cast to float32."""
    if dtype == "float32":
        return model

    def cast(tree: Any, to: Any) -> Any:
        return jax.tree.map(lambda a: a.astype(to) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)

    def lowered(f: Callable[..., Array]) -> Callable[..., Array]:
        def g(*args: Any) -> Array:
            with jax.numpy_dtype_promotion("standard"):  # Flax's layer norm computes its statistics in float32
                return cast(f(*cast(args, dtype)), jnp.float32)

        return g

    tokens = None if model.tokens is None else lowered(model.tokens)
    volume = None if model.log_volume is None else lowered(model.log_volume)
    return model._replace(apply=lowered(model.apply), tokens=tokens, log_volume=volume)


def with_log_volume(loss: Loss, encoder: Model) -> Loss:
    """Return the loss with the log-volumes of an encoder at all views, the means over its members, in its outcome."""
    members = encoder.members or (encoder,)

    def of_sample(params: Params, x: Array, key: Array) -> Array:
        of = [member.log_volume for member in members if member.log_volume is not None]
        return jnp.mean(jnp.stack([f(params, x, jax.random.fold_in(key, i)) for i, f in enumerate(of)]))

    log_volume = jax.vmap(jax.vmap(of_sample, (None, 0, 0)), (None, 0, 0))

    def with_volume(params: Params, teacher: Params, extra: Params, batch: Batch) -> Outcome:
        outcome = loss(params, teacher, extra, batch)
        # Where no unit is dropped, the compiler computes what this shares with the embedding once.
        volumes = []
        for i, group in enumerate(batch.views):
            keys = jax.random.split(jax.random.fold_in(batch.key, i), group.shape[:2])
            volumes.append(log_volume(params["encoder"], group, keys))
        return outcome._replace(log_volume=jnp.concatenate(volumes))

    return with_volume
