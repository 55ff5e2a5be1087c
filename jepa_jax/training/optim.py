"""Optimiser: AdamW or gradient descent, with warm-up and a decay of the rate."""

import jax
import optax

from jepa_jax import config as cfg


def build(optim: cfg.Optim, steps: int) -> optax.GradientTransformation:
    """Return the optimiser, whose rate rises linearly over `warmup_steps`, then falls to 0 at `steps` along a cosine.

    Without decay it stays.
    """
    warmup = min(optim.warmup_steps, steps // 2)
    if optim.decay == "cosine":
        rate = optax.warmup_cosine_decay_schedule(0.0, optim.lr, warmup, steps)
    else:
        rate = optax.warmup_constant_schedule(0.0, optim.lr, warmup) if warmup else optim.lr

    def kernels(params):  # only kernels decay, not biases, nor the mean and the scale of the input
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    if optim.optimizer == "sgd":
        decayed = optax.add_decayed_weights(optim.weight_decay, mask=kernels)
        update = optax.chain(decayed, optax.sgd(rate)) if optim.weight_decay else optax.sgd(rate)
    else:
        update = optax.adamw(rate, weight_decay=optim.weight_decay, mask=kernels)
    return update if optim.clip_norm is None else optax.chain(optax.clip_by_global_norm(optim.clip_norm), update)
