"""Optimiser: AdamW with warm-up and cosine decay."""

import jax
import optax

from jepa_jax import config as cfg


def build(optim: cfg.Optim, steps: int) -> optax.GradientTransformation:
    """Return AdamW with a rate that rises linearly over `warmup_steps`, then falls to 0 at `steps` along a cosine."""
    warmup = min(optim.warmup_steps, steps // 2)
    rate = optax.warmup_cosine_decay_schedule(0.0, optim.lr, warmup, steps)

    def kernels(params):  # only kernels decay, not biases, nor the mean and the scale of the input
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    adam = optax.adamw(rate, weight_decay=optim.weight_decay, mask=kernels)
    return adam if optim.clip_norm is None else optax.chain(optax.clip_by_global_norm(optim.clip_norm), adam)
