"""Encoder of a file of weights: found among all tensors, chosen among several, and checked before it is read."""

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.family import Family
from jepa_jax.pretrained.leftovers import beside, projection_note, without_heads
from jepa_jax.pretrained.other_kinds import adapter_note, refuse, refuse_tower
from jepa_jax.pretrained.reading import Weights
from jepa_jax.pretrained.roles import Choice, choose
from jepa_jax.pretrained.tensor import printable
from jepa_jax.pretrained.towers import Tower, check_tensors, entries_of, find_towers

# Ends of keys that are those of text models, and of optimizers.
TEXT_KEY = re.compile(r"(.*\.)?((token|word)_embeddings?|embed_tokens|wte|tok_embeddings)\.weight")
OPTIMIZER_KEY = re.compile(r"(.*\.)?(exp_avg|exp_avg_sq|momentum_buffer)")
# Parameters are float32, and a file may hold them as single bytes, or one tensor of which several are views.
MAX_GROWTH = 16
FREE_BYTES = 2**24


def locate(weights: Weights, families: Sequence[Family], branch: str | None) -> tuple[Choice, dict[str, str]]:
    """Find the encoder in a file.

    Args:
      weights: Weights.
      families: Families that are looked for, in order of preference.
      branch: Name of the encoder among several, or None for that which the origin of the file evaluates.

    Returns:
      The encoder, without heads of training, and what else is in the file with the reason why it is left out.

    Raises:
      ConfigError: If there is none; none that `branch` names; or several, and it is not known which is evaluated. If
        it belongs to a model that is not read, a part of it is no plain tensor, or its shapes are those of a much
        larger file.
    """
    towers = find_towers(weights, families)
    if not towers:
        refuse(weights)
        raise _none(weights, families)
    choice = choose(towers, branch, weights.name)
    check_tensors(choice.tower, weights)
    _check_size(choice.tower, weights)
    tower, heads = without_heads(choice.tower)
    refuse_tower(tower, weights)
    entries = entries_of(weights)
    notes = (*choice.notes, *projection_note(tower, choice.others, entries), *adapter_note(tower, weights))
    return replace(choice, tower=tower, notes=notes), heads | beside(choice.tower, choice.others, entries)


def _none(weights: Weights, families: Sequence[Family]) -> ConfigError:
    """Return the error for a file without an encoder of these families, which says what it holds instead."""
    name = weights.name
    keys = [key for group in weights.groups.values() for key in group]
    if any(TEXT_KEY.fullmatch(key) for key in keys):
        return ConfigError(f"{name} holds a text encoder and no image encoder")
    if all(OPTIMIZER_KEY.fullmatch(key) for key in keys):
        return ConfigError(f"{name} holds the state of an optimizer and no encoder; name the file of the model")
    some = printable(", ".join(keys[:3]))
    if len(families) == 1:
        return ConfigError(f"{name} holds no {families[0].name} image encoder; its keys are {some}, ...")
    known = ", ".join(family.name for family in families)
    return ConfigError(f"{name} is of no known family ({known}); its keys are {some}, ...")


def _check_size(tower: Tower, weights: Weights) -> None:
    """Check that the encoder is not larger than a file of this size can hold, as with strides of zero."""
    needed = 4 * sum(math.prod(tensor.shape) for tensor in tower.tensors.values())
    held = sum(file.stat().st_size for file in weights.files)
    if needed > MAX_GROWTH * held + FREE_BYTES:
        raise ConfigError(
            f"the tensors in {weights.name} have {needed} bytes, and the file {held}: they repeat their numbers; "
            "save contiguous tensors"
        )
