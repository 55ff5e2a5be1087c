"""Prediction of targets at hidden patches from the tokens of visible patches.

Assran et al., "I-JEPA", arXiv 2301.08243.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax.errors import ConfigError
from jepa_jax.masking import Curriculum, Law, Masks, law_of
from jepa_jax.masking.masks import pack
from jepa_jax.models import Model, standardised
from jepa_jax.models.networks import on_sphere
from jepa_jax.models.token_predictor import TokenPredictor
from jepa_jax.models.transformer import sincos_positions
from jepa_jax.objectives import distance, prediction
from jepa_jax.recipes.base import Batch, Loss, Outcome, Params, Recipe, Setting, each_token, in_parts
from jepa_jax.targets import Targets, gradient_targets, pixel_targets, product_targets, token_targets, whitening
from jepa_jax.targets.products import LARGEST_PATCH

PREDICTOR_HEADS = 3


def _check(options: cfg.Masked, encoder: cfg.Encoder, views: cfg.Views) -> None:
    if not isinstance(encoder, cfg.ViT):
        raise ConfigError(f"`recipe.kind` masked hides patches, so it needs `encoder.kind` vit, not {encoder.kind}")
    if options.pair_weight and options.pair_of == "masks" and encoder.readout != "mean":
        raise ConfigError(
            "`recipe.pair_of` masks embeds a part of the tokens by their mean, as `encoder.readout` mean does, "
            f"not {encoder.readout}"
        )
    if isinstance(views, cfg.Crops) and views.global_views + views.local_views != 1:
        raise ConfigError("`recipe.kind` masked takes one view; set `views.global_views` 1 and `views.local_views` 0")


def _networks(options: cfg.Masked, encoder: Model, dim: int, remat: bool) -> dict[str, Model]:
    assert encoder.grid is not None
    _law(options, encoder.grid)  # checked before anything is compiled
    places = None if encoder.positions is None else jax.eval_shape(encoder.positions, _shapes(encoder)).shape[1]
    sizes = TokenPredictor(
        encoder.grid,
        encoder.token_dim,
        _answer(options, encoder),
        options.predictor_width,
        options.predictor_depth,
        PREDICTOR_HEADS,
        remat,
        places,
    )
    try:
        jax.eval_shape(sizes.init, jax.random.key(0))
        if places is None:
            sincos_positions(encoder.grid, options.predictor_width)
    except ValueError as error:
        raise ConfigError(f"`recipe.predictor_width` {options.predictor_width}: {error}") from None
    return {"predictor": Model(sizes.init, sizes.apply, sizes.answer)}


def _shapes(encoder: Model) -> Params:
    """Return the shapes of the weights of an encoder."""
    return jax.eval_shape(encoder.init, jax.random.key(0))


def _answer(options: cfg.Masked, encoder: Model) -> int:
    """Return the width of a target, F.

    Raises:
      ConfigError: If the samples have no such targets.
    """
    if options.target == "tokens":
        return encoder.token_dim
    assert encoder.divided is not None
    shape = _shapes(encoder)["input"]["mean"].shape
    size = jax.eval_shape(encoder.divided, jax.ShapeDtypeStruct(shape, jnp.float32)).shape[1]
    if options.target == "pixels":
        return size
    if options.target == "products":
        if size > LARGEST_PATCH:
            raise ConfigError(
                f"`recipe.target` products has one number for any two of a patch, which has {size}; use an "
                f"`encoder.patch_size` with {LARGEST_PATCH} at most"
            )
        return size * (size + 1) // 2
    if len(shape) != 3 or max(options.scales) >= min(shape[:2]):
        raise ConfigError(
            f"`recipe.target` gradient compares squares of half-width {max(options.scales)} in images larger than "
            f"that, and a sample has shape {list(shape)}; use smaller `recipe.scales`"
        )
    maps = jax.ShapeDtypeStruct((*shape[:2], shape[2] * len(options.scales)), jnp.float32)
    return jax.eval_shape(encoder.divided, maps).shape[1]


def _targets(options: cfg.Masked, encoder: Model) -> Targets:
    """Return the targets of all tokens of a sample."""
    tokens, divided = encoder.tokens, encoder.divided
    assert tokens is not None
    assert divided is not None
    if options.target == "tokens":
        return token_targets(tokens, options.normed)
    if options.target == "gradient":
        return gradient_targets(divided, options.scales, options.normed)
    numbers = _numbers(encoder)
    of = pixel_targets if options.target == "pixels" else product_targets
    return of(numbers, options.normed)


def _numbers(encoder: Model) -> Callable[[Params, Array], Array]:
    """Return a function (params, x) -> the standardised numbers of each token, [N, P]."""
    divided = encoder.divided
    assert divided is not None
    return lambda params, x: divided(standardised(params, x))


def _prepared(options: cfg.Masked, encoder: Model) -> Callable[[Params, Array], Any]:
    """Return a function (params of the teacher, batch [B, ...]) -> what the targets are computed with."""
    if options.target != "products":
        return lambda params, x: params
    numbers = jax.vmap(_numbers(encoder), (None, 0))

    def with_whitening(params: Params, x: Array) -> Any:
        each = numbers(params, x)
        return params, whitening(each.reshape(-1, each.shape[-1]))

    return with_whitening


def _law(options: cfg.Masked, grid: tuple[int, int]) -> Law:
    """Return the distribution of the masks.

    Raises:
      ConfigError: If there are no such masks on this grid.
    """
    try:
        law = law_of(options.mask)
        law.check(grid)
    except ValueError as error:
        raise ConfigError(f"`recipe.mask`: {error}") from None
    return law


def _loss(setting: Setting) -> Loss:
    """Return the loss: the distance of predicted tokens, a mean over the tokens of a target, over targets and masks."""
    options, encoder, predictor = setting.options, setting.networks["encoder"], setting.networks["predictor"]
    grid, tokens = encoder.grid, encoder.tokens
    assert grid is not None
    assert tokens is not None
    law, targets, prepared = _law(options, grid), _targets(options, encoder), _prepared(options, encoder)
    fixed = None if encoder.positions else jnp.asarray(sincos_positions(grid, options.predictor_width))

    def places(params: Params) -> Array:
        if fixed is not None:
            return fixed
        assert encoder.positions is not None
        return encoder.positions(params["encoder"]) @ params["predictor"]["place"]["kernel"]

    def error(params: Params, of_targets: Any, x: Array, masks: Masks) -> Array:
        wanted = targets(of_targets, x)
        context = tokens(params["encoder"], x, masks.context, masks.context_valid)
        positions = places(params)

        def group(at: Array, valid: Array) -> Array:
            seen = (context, positions[masks.context], masks.context_valid)
            predicted = predictor.apply(params["predictor"], *seen, positions[at], valid)
            off = distance(setting.distance, predicted, wanted(at), mean=True)
            counted = valid.astype(off.dtype)
            return jnp.sum(off * counted) / jnp.maximum(jnp.sum(counted), 1)

        there = jnp.any(masks.targets_valid, axis=1).astype(jnp.float32)  # other targets are padding
        return jnp.sum(jax.vmap(group)(masks.targets, masks.targets_valid) * there) / jnp.sum(there)

    def loss(params: Params, teacher: Params, extra: Params, batch: Batch) -> Outcome:
        views, embed = batch.views, setting.embed
        keys = jax.random.split(batch.key, views[0].shape[1])
        some = _over_samples(error, law, grid, batch.progress, options.masks)
        both = {"params": params, "targets": prepared(teacher["encoder"], views[0][0])}
        errors = in_parts(some, embed.accumulate)(both, (views[0][0], keys))
        if options.pair_weight:
            two = _halves(setting, law, batch) if options.pair_of == "masks" else lambda params: embed(params, views)
            z = two(params)
            other = jax.lax.stop_gradient(two(teacher)) if teacher is not params else z
            errors = errors + options.pair_weight * jnp.mean(prediction(z, other[::-1]), axis=0)
            views = (views[0][:2],)
        else:
            # Embed whole samples: the mean of visible tokens also varies with the mask, which could hide a collapse.
            views = (views[0][:1],)
            z = embed(params, views)
        return Outcome(errors, each_token(embed.tokens(params, views)) if setting.on_tokens else z, extra)

    return loss


def _halves(setting: Setting, law: Law, batch: Batch) -> Callable[[Params], Array]:
    """Return a function params -> embeddings of the visible tokens of each sample and of all others, [2, B, K]."""
    tokens, grid = setting.networks["encoder"].tokens, setting.networks["encoder"].grid
    assert grid is not None
    assert tokens is not None
    x, count = batch.views[0][0], grid[0] * grid[1]

    def of_part(params: Params, x: Array, at: Array, valid: Array) -> Array:
        part = tokens(params["encoder"], x, at, valid)
        z = jnp.sum(part * valid[:, None].astype(part.dtype), axis=0) / jnp.sum(valid).astype(part.dtype)
        return on_sphere(z) if setting.sphere else z

    def of_sample(params: Params, x: Array, key: Array) -> Array:
        masks = law.draw(key, grid, batch.progress)
        seen = jnp.zeros(count, bool).at[masks.context].max(masks.context_valid)
        both = (masks.context, masks.context_valid), pack(~seen, count)
        return jnp.stack([of_part(params, x, *part) for part in both])

    parts = in_parts(lambda params, some: jax.vmap(of_sample, (None, 0, 0))(params, *some), setting.embed.accumulate)
    # The masks of a single mask are those whose hidden tokens are predicted, so that its context is computed once.
    return lambda params: jnp.swapaxes(parts(params, (x, jax.random.split(batch.key, len(x)))), 0, 1)


def _over_samples(
    error: Callable[..., Array], law: Law, grid: tuple[int, int], progress: Array, masks: int
) -> Callable[[Params, tuple[Array, Array]], Array]:
    """Return a function (network and targets, (samples, keys)) -> the error of each sample, with masks of its own."""

    def one(both: Params, x: Array, key: Array) -> Array:
        def with_masks(key: Array) -> Array:
            return error(both["params"], both["targets"], x, law.draw(key, grid, progress))

        return with_masks(key) if masks == 1 else jnp.mean(jax.vmap(with_masks)(jax.random.split(key, masks)))

    return lambda both, batch: jax.vmap(one, (None, 0, 0))(both, *batch)


def mask_metrics(options: cfg.Recipe, progress: float) -> dict[str, float]:
    """Return the share of late masks of a curriculum at a progress of the run from 0 to 1; {} for other masks."""
    if not isinstance(options, cfg.Masked) or not isinstance(options.mask, cfg.Curriculum):
        return {}
    law = law_of(options.mask)
    assert isinstance(law, Curriculum)
    return {"mask/late_share": float(law.late_share(progress))}


def _views_read(options: cfg.Masked) -> int:
    return 2 if options.pair_weight and options.pair_of == "noise" else 1


MASKED = Recipe(_check, _networks, _loss, teacher_is_result=True, views_read=_views_read)
