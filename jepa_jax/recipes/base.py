"""What a recipe is, and what all of them share: embedding views, computing in parts, computing in a lower precision."""

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
    """What a recipe makes of a batch.

    Attributes:
      prediction: [..., B], the prediction term of each sample, before the mean.
      embedding: [V, B, K], what the anti-collapse term gets.
      extra: what the recipe carries from step to step beside parameters.
    """

    prediction: Array
    embedding: Array
    extra: Params


# (params, teacher, extra, views, key, progress) -> Outcome. `teacher` has the networks that the moving average follows,
# or is the parameters themselves where there is none; `progress` goes from 0 to 1 over the run.
Loss = Callable[[Params, Params, Params, Views, Array, Array], Outcome]


class Setting(NamedTuple):
    """What a recipe's loss is built from.

    Attributes:
      options: the recipe's section of the config.
      networks: by name.
      embed: from views to what the losses compare.
      sphere: whether that lies on the unit sphere.
    """

    options: Any
    networks: dict[str, Model]
    embed: "Embed"
    sphere: bool


class Recipe(NamedTuple):
    """A recipe, as functions of its section of the config.

    Attributes:
      check: (options, encoder, views) -> None; raises ConfigError for what does not go together.
      networks: (options, encoder, width of what the losses compare, remat) -> networks beside the encoder, by name.
      loss: setting -> the loss.
      extra: options -> what the loss carries at the first step beside parameters.
      teacher_is_result: whether the teacher, where there is one, is what a run is for.
      views_read: views of an example that the loss reads; None for all.
    """

    check: Callable[[Any, cfg.Encoder, cfg.Views], None]
    networks: Callable[[Any, Model, int, bool], dict[str, Model]]
    loss: Callable[[Setting], Loss]
    extra: Callable[[Any], Params] = lambda options: {}
    teacher_is_result: bool = False
    views_read: int | None = None


class Embed:
    """(params, views) -> [V, B, K]: encoder, and projector where there is one."""

    def __init__(self, networks: dict[str, Model], sphere: bool, accumulate: int = 1) -> None:
        """Embedding by these networks.

        Args:
          networks: `encoder`, and perhaps `projector`.
          sphere: whether projections are divided by their norm.
          accumulate: parts in which a batch goes through the networks.
        """
        self.networks, self.sphere, self.accumulate = networks, sphere, accumulate

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
        z = jax.vmap(self.networks["encoder"].apply, (None, 0))(params["encoder"], flat)
        if "projector" in self.networks:
            z = jax.vmap(self.networks["projector"].apply, (None, 0))(params["projector"], z)
            z = jax.vmap(on_sphere)(z) if self.sphere else z
        return z.reshape(*group.shape[:2], -1)


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


def computing_in(dtype: str, model: Model) -> Model:
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
