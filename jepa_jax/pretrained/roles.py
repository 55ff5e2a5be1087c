"""Choice among several encoders in a file: that which its origin evaluates, or that which the caller names."""

from collections.abc import Mapping
from dataclasses import dataclass

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.tensor import printable
from jepa_jax.pretrained.towers import Tower

# Words in the name of an encoder that its origin evaluates, and of the other one, if both are the same network; ""
# stands for a name without such a word.
EVALUATED = (
    ("teacher", "student"),
    ("teacher", ""),
    ("target", "context"),  # I-JEPA
    ("target", ""),
    ("online", "target"),  # BYOL
    ("online", "momentum"),
    ("", "momentum"),
    ("base", "momentum"),  # MoCo
    ("query", "key"),
    ("ema", "raw"),
    ("ema", ""),
    ("", "current"),  # Lightning, whose state_dict is the average
)
AVERAGES = ("swa", "averaged", "average", "averaging", "avg", "polyak")
SYNONYMS = {**dict.fromkeys(AVERAGES, "ema"), "q": "query", "k": "key"}
# Words that say something of an encoder without another one beside it.
TELLING = ("teacher", "student", "target", "context", "online", "momentum", "ema")
WORDS = frozenset(word for pair in EVALUATED for word in pair) - {""}


@dataclass(frozen=True)
class Choice:
    """Encoder of a file that is taken.

    Attributes:
      tower: Encoder.
      role: Its name among the encoders of the file, such as `target_encoder`; None if there is one, and its name does
        not tell a role.
      branch: The same in one word, such as `target`, by which it can be asked for.
      others: The other encoders by their names.
      notes: Notes for the user.
    """

    tower: Tower
    role: str | None
    branch: str | None
    others: Mapping[str, Tower]
    notes: tuple[str, ...]


def choose(towers: list[Tower], branch: str | None, file: str) -> Choice:
    """Choose an encoder.

    Args:
      towers: Encoders of the file, at least one.
      branch: Name of the encoder that the caller asks for, or None.
      file: Name of the file, for the message.

    Raises:
      ConfigError: If no encoder has that name, or if several have it, or none is asked for, and it is not known which
        of them their origin evaluates.
    """
    labels = _labels(towers)
    listed = ", ".join(map(printable, labels))
    asked = [t for t in towers if branch is None or branch.lower() in _names(t, labels[towers.index(t)])]
    if not asked and len(towers) == 1:
        raise ConfigError(f"`branch` is {branch}, and {file} holds one encoder ({listed}); leave `branch` out")
    if not asked:
        raise ConfigError(f"`branch` is {branch}, and the encoders in {file} are {listed}")
    taken = next((t for t in asked if all(t is other or _evaluated(t, other) for other in asked)), None)
    if taken is None:
        several = ", ".join(printable(labels[towers.index(t)]) for t in asked)
        raise ConfigError(f"{file} holds several encoders: {several}; choose one with `branch`")
    label = labels[towers.index(taken)]
    others = {other: tower for other, tower in zip(labels, towers, strict=True) if tower is not taken}
    if not others:
        role = label if branch is not None or any(word in TELLING for word in _words(label)) else None
        return Choice(taken, role, _short(taken, label, towers) if role else None, {}, ())
    why = f"as `branch` {branch} asks" if branch else "which its origin evaluates"
    note = f"the file holds several encoders: {label} is taken, {why}; others for `branch`: {', '.join(others)}"
    return Choice(taken, label, _short(taken, label, towers), others, (printable(note),))


def _evaluated(tower: Tower, other: Tower) -> bool:
    """Return whether the origin evaluates the first of two encoders."""
    if tower.layout is not other.layout or _shapes(tower) != _shapes(other):
        return False  # a large teacher and the student that it was distilled to
    ours, theirs = _words(tower.place), _words(other.place)
    ours, theirs = ours - theirs, theirs - ours

    def order(first: set[str], second: set[str]) -> bool:
        return any(a in (first or {""}) and b in (second or {""}) for a, b in EVALUATED)

    return bool(ours or theirs) and order(ours, theirs) and not order(theirs, ours)


def _shapes(tower: Tower) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the tensors that the rules of the layout take."""
    patterns = [rule.pattern for rule in tower.layout.rules]
    return {k: t.shape for k, t in tower.tensors.items() if any(pattern.fullmatch(k) for pattern in patterns)}


def _words(place: str) -> set[str]:
    """Return the words in a full name that tell a role."""
    words = {SYNONYMS.get(word, word) for word in place.lower().replace(".", "_").split("_")}
    return words & WORDS


def _labels(towers: list[Tower]) -> list[str]:
    """Return a name of each encoder by which it differs from the others."""
    parts = [tower.place.split(".") if tower.place else [] for tower in towers]
    shared = set.intersection(*map(set, parts)) if len(parts) > 1 else set()
    labels = []
    for own in parts:
        telling = [part for part in own if part not in shared and set(TELLING) & _words(part)]
        labels.append(next(iter([*telling, *(part for part in own if part not in shared)]), "raw"))
    return [label if labels.count(label) == 1 else tower.place for label, tower in zip(labels, towers, strict=True)]


def _names(tower: Tower, label: str) -> set[str]:
    """Return all names by which an encoder can be asked for."""
    parts, words = set(tower.place.lower().split(".")), _words(tower.place)
    names = {label.lower(), tower.place.lower(), *parts, *words}
    if not words:
        names |= {"raw", "context"} if "encoder" in parts else {"raw"}
    return names


def _short(tower: Tower, label: str, towers: list[Tower]) -> str:
    """Return the role of an encoder in one word."""
    words = _words(label)
    if words:
        return min(words, key=lambda word: (word not in TELLING, word))
    others = set().union(*(_words(other.place) for other in towers))
    if label == "encoder" and (len(towers) == 1 or "target" in others):
        return "context"
    return "raw" if others else label
