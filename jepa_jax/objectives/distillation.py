"""Self-distillation: the student's distribution over prototypes should match the teacher's for another view."""

import jax
import jax.numpy as jnp
from jax import Array


def distillation(student: Array, teacher: Array, *, temperature: float = 0.1) -> Array:
    """Compute the cross-entropy of each student view with each different teacher view of the same sample.

    Caron et al., "Emerging properties in self-supervised vision transformers", arXiv 2104.14294, eq. 1 to 3. The
    teacher's views are the first views of the student.

    Args:
      student: Logits [V, B, P] over P prototypes.
      teacher: Probabilities [G, B, P], G <= V.
      temperature: Temperature of the student.

    Returns:
      Cross-entropy [B] in nats, the mean over pairs of different views.

    Raises:
      ValueError: If there is no pair of different views.
    """
    views, globals_ = len(student), len(teacher)
    pairs = views * globals_ - globals_
    if not 0 < globals_ <= views or pairs == 0:
        raise ValueError(f"{globals_} teacher views and {views} student views make no pair of different views")
    log = jax.nn.log_softmax(student / temperature, axis=-1)
    every = -jnp.einsum("vbp,gbp->vgb", log, teacher)
    same = jnp.eye(views, globals_, dtype=bool)
    return jnp.sum(jnp.where(same[:, :, None], 0.0, every), axis=(0, 1)) / pairs


def centred(logits: Array, centre: Array, *, temperature: float) -> Array:
    """Return teacher probabilities [G, B, P] from logits after subtraction of their running mean `centre` [P]."""
    return jax.nn.softmax((logits - centre[None, None]) / temperature, axis=-1)


def sinkhorn(logits: Array, *, temperature: float, iterations: int = 3) -> Array:
    """Return teacher probabilities [G, B, P] that use all prototypes equally over the batch of each view.

    Rows and columns of exp(logits / temperature) are scaled in turn, in logarithms. Caron et al., "Unsupervised
    learning of visual features by contrasting cluster assignments", arXiv 2006.09882, section 3.1; as in DINOv2.
    """
    log = logits / temperature

    def turn(_: int, log: Array) -> Array:
        log = log - jax.nn.logsumexp(log, axis=1, keepdims=True)  # each prototype has an equal share of the batch
        return log - jax.nn.logsumexp(log, axis=2, keepdims=True)  # each sample has a distribution

    return jnp.exp(jax.lax.fori_loop(0, iterations, turn, log))
