"""Model card of an exported model: README.md with the front matter that a hub of models reads."""

import json
from pathlib import Path
from typing import Any

from jepa_jax import __version__
from jepa_jax.encoder import Encoder

TAGS = ("jepa", "jepa-score", "density-estimation", "jax")
# Entries of a run's summary that a card shows -> what they are.
RESULTS = {
    "density/spearman": "Spearman of the score with the exact log-density",
    "density/log_density_spearman": "Spearman of the corrected log-density",
    "heldout_nats": "mean log-density of held-out samples, nats",
    "heldout_nats_kde": "the same of a kernel density estimate",
    "heldout_nats_gmm": "the same of a Gaussian mixture",
    "probe/linear": "linear probe on held-out samples, accuracy",
    "probe/knn": "k-NN on held-out samples, accuracy",
}


def card(name: str, encoder: Encoder, licence: str, tree: dict[str, Any], summary: dict[str, Any]) -> str:
    """Return the text of a card.

    Args:
      name: Name of the model.
      encoder: Encoder.
      licence: Identifier of the licence, such as apache-2.0.
      tree: Content of config.json.
      summary: Summary of the run, or {}.
    """
    images = encoder.picture_preprocessing is not None
    front = [f"license: {licence}", "library_name: jepa-jax", *(["pipeline_tag: image-feature-extraction"] * images)]
    front += ["tags:", *(f"- {tag}" for tag in TAGS)]
    lines = ["---", *front, "---", "", f"# {name}", "", _what(encoder, tree), ""]
    results = [f"| {label} | {summary[key]:.4g} |" for key, label in RESULTS.items() if summary.get(key) is not None]
    if results:
        lines += ["| result | value |", "| --- | --- |", *results, ""]
    if summary.get("health_sentence"):
        lines += [f"Verdict of the training: {summary['health_sentence']}", ""]
    sample = "x = encoder.preprocess(image)  # uint8, any size" if images else f"x = ...  # {list(encoder.shape)}"
    data = "photos" if images else "rows.npy"
    lines += [
        "## Use",
        "",
        "```python",
        "import jepa_jax",
        "",
        'encoder = jepa_jax.load("DIR")  # this folder',
        sample,
        f"encoder(x)                      # embedding [{encoder.dim}]",
        "jepa_jax.jepa_score(encoder, x) # sum of the log singular values of the Jacobian, nats; high is typical",
        "```",
        "",
        f"From a shell: `jepa-score DIR --data {data}`. Written by jepa_jax {__version__}. The score ranks samples",
        "like those of the training; far from them it says nothing.",
        "",
    ]
    return "\n".join(lines)


def _what(encoder: Encoder, tree: dict[str, Any]) -> str:
    """Return a sentence about the encoder and its training."""
    kind = f"Encoder {list(encoder.shape)} -> [{encoder.dim}]"
    if "vit" in tree:
        return (
            f"{kind}, converted from weights of the family {tree['origin'].get('family')}. {tree['origin']['licence']}"
        )
    start = f", from the weights of {tree['init_from']}" if tree.get("init_from") else ""
    objective, recipe = tree["objective"]["anti_collapse"], tree["recipe"]["kind"]
    return (
        f"{kind}, a joint-embedding predictive architecture ({tree['encoder']['kind']}) that was trained on "
        f"{tree['data']['source']} for {tree['steps']} steps{start}; recipe {recipe}, anti-collapse term {objective}."
    )


def read_summary(run: Path) -> dict[str, Any]:
    """Return the summary of a run; {} without one."""
    try:
        tree = json.loads((run / "summary.json").read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}
