"""Measured law of the embeddings in a score run."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from jepa_jax.errors import ConfigError
from jepa_jax.evaluate import REFERENCE_SAMPLES, MeasuredLaw
from jepa_jax.loading import training_config, training_embeddings

from .embedding import embed
from .options import Arguments
from .scorer import Scorer


def measured_law(a: Arguments, scorer: Scorer, console: Console) -> tuple[Scorer, str]:
    """Return the scorer with the law that the arguments or the training ask for, and where the law was measured.

    Args:
      a: Arguments of the program.
      scorer: Scorer without a measured law.
      console: Console for progress and notes.

    Returns:
      The scorer, and `training`, `scored`, or "" if no law is measured.

    Raises:
      ConfigError: If there are too few embeddings to measure a law.
    """
    config = training_config(a.model)
    law = a.law or ("assumed" if config is None else config.density.law)
    if law == "assumed":
        return scorer, ""
    known = None if config is None else training_embeddings(Path(a.model), a.weights, a.step)
    source = "scored" if known is None else "training"
    if known is None:
        console.print("note: the law is measured among the scored samples, because no training embeddings are kept")
        with console.status("embedding the samples"):
            z = embed(scorer.encoder, scorer.xs, REFERENCE_SAMPLES)
            known = z[np.isfinite(z).all(axis=1)]
    try:
        return dataclasses.replace(scorer, law=MeasuredLaw(law, known, scorer.directions)), source
    except ValueError as error:
        raise ConfigError(f"--law {law}: {error}") from None


def law_entries(scorer: Scorer, source: str) -> dict[str, Any]:
    """Return the entries of FILE.json about a measured law."""
    return {} if scorer.law is None else {"law": scorer.law.kind, "law_measured_among": source}
