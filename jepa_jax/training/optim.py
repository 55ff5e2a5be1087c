"""The optimiser: AdamW with warm-up and cosine decay."""

import jax
import optax

from jepa_jax import config as cfg


def build(optim: cfg.Optim, steps: int) -> optax.GradientTransformation:
    """AdamW whose rate rises linearly over `warmup_steps`, then falls to zero at `steps` along a cosine."""
    warmup = min(optim.warmup_steps, steps // 2)
    rate = optax.warmup_cosine_decay_schedule(0.0, optim.lr, warmup, steps)

    def kernels(params):  # biases, and the input's mean and scale, are not decayed
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    adam = optax.adamw(rate, weight_decay=optim.weight_decay, mask=kernels)
    return adam if optim.clip_norm is None else optax.chain(optax.clip_by_global_norm(optim.clip_norm), adam)
