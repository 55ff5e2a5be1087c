"""Prediction of the teacher's distribution over prototypes from each other view.

Caron et al., "DINO", arXiv 2104.14294.
"""

import jax
import jax.numpy as jnp
from jax import Array

from jepa_jax import config as cfg
from jepa_jax import objectives
from jepa_jax.models import Model, build_mlp
from jepa_jax.models.networks import on_sphere
from jepa_jax.recipes.base import Batch, Loss, Outcome, Params, Recipe, Setting

HEAD_WIDTHS = (256, 64)  # hidden width and bottleneck; the head is DINO's, but smaller
CENTRE_DECAY = 0.9  # decay of the running mean of the teacher's logits, as in DINO


def _check(options: cfg.Distill, encoder: cfg.Encoder, views: cfg.Views) -> None:
    """Accept any views."""


def _networks(options: cfg.Distill, encoder: Model, dim: int, remat: bool) -> dict[str, Model]:
    """Return `head`: an MLP to a small sphere, and the cosines with unit prototypes, [K] -> [P]."""
    hidden, bottleneck = HEAD_WIDTHS
    mlp = build_mlp((dim, hidden, hidden, bottleneck))

    def init(key: Array) -> Params:
        one, two = jax.random.split(key)
        kernel = jax.random.normal(two, (bottleneck, options.prototypes))
        return {"mlp": mlp.init(one), "prototypes": {"kernel": kernel}}

    def apply(params: Params, z: Array) -> Array:
        kernel = params["prototypes"]["kernel"]
        unit = kernel * jax.lax.rsqrt(jnp.sum(kernel**2, axis=0, keepdims=True) + 1e-12)
        return on_sphere(mlp.apply(params["mlp"], z)) @ unit

    return {"head": Model(init, apply, options.prototypes)}


def _loss(setting: Setting) -> Loss:
    """Return the loss: the cross-entropy of the student's distribution with that of the teacher over all prototypes."""
    options, embed = setting.options, setting.embed
    heads = jax.vmap(jax.vmap(setting.networks["head"].apply, (None, 0)), (None, 0))

    def loss(params: Params, teacher: Params, extra: Params, batch: Batch) -> Outcome:
        views = batch.views
        z = embed(params, views)
        logits = jax.lax.stop_gradient(heads(teacher["head"], embed(teacher, views[:1])))
        if options.targets == "sinkhorn":
            wanted = objectives.sinkhorn(logits, temperature=options.teacher_temperature)
            after = extra
        else:
            wanted = objectives.centred(logits, extra["centre"], temperature=options.teacher_temperature)
            mean = jnp.mean(logits, axis=(0, 1))
            after = {"centre": CENTRE_DECAY * extra["centre"] + (1 - CENTRE_DECAY) * mean}
        student = heads(params["head"], z)
        prediction = objectives.distillation(student, wanted, temperature=options.student_temperature)
        return Outcome(prediction, z[: len(views[0])], after)

    return loss


def _extra(options: cfg.Distill) -> Params:
    return {"centre": jnp.zeros(options.prototypes)} if options.targets == "centring" else {}


DISTILL = Recipe(_check, _networks, _loss, _extra, teacher_is_result=True)
