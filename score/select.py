"""Program `python -m score.select FILE.csv --lowest N`, installed as `jepa-select`: chosen rows of a table."""

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

import numpy as np
import tyro

from jepa_jax.errors import ConfigError
from jepa_jax.files import write_atomically

from .console import answer, show_rows
from .scores import Scores

DESCRIPTION = """Choose rows of a table of scores, such as the least typical samples.

The rows are printed; their ids can be written as a list, and image files linked into a folder to look at or to move.

  PROGRAM scores.csv --lowest 20
  PROGRAM scores.csv --below 1 --per-class --list odd.txt
  PROGRAM scores.csv --highest 50 --by label_disagreement --link doubtful"""
MAX_SHOWN = 100  # rows that are printed
SHOWN = (
    "score",
    "predicted_score",
    "percentile",
    "label",
    "class_percentile",
    "duplicate_of",
    "label_disagreement",
    "reason",
)


@dataclass(frozen=True)
class Arguments:
    """Command line of the program."""

    table: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """FILE.csv or FILE.parquet, a table that the score program wrote."""
    lowest: int | None = None
    """Number of rows to choose, the lowest first."""
    highest: int | None = None
    """Number of rows to choose, the highest first."""
    below: float | None = None
    """Percentile below which rows are chosen, the lowest first: 1 chooses the lowest hundredth."""
    by: str = "score"
    """Column by which rows are sorted. Rows without a value in it are left out. Text is sorted by its letters."""
    per_class: bool = False
    """Choose among the rows of each label by themselves, instead of among all."""
    list: str | None = None
    """FILE to write with the chosen ids, one a line. Beside the images it is data to train on or to score."""
    link: str | None = None
    """Folder in which to link the chosen image files, in their subfolders. Where links are not possible, files are
    copied. Nothing is overwritten."""
    images: str | None = None
    """Folder of the images. None: the data that were scored, as FILE.json beside the table names them."""


def script() -> None:
    """Run the program and exit with its status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    sys.exit(main(sys.argv[1:]))


def main(args: Sequence[str]) -> int:
    """Run the program and return its exit status: 0, or 2 if the input is invalid."""
    return answer(args, Arguments, "select", DESCRIPTION, run)


def run(a: Arguments) -> None:
    """Choose, print, list and link.

    Raises:
      ConfigError: If the arguments or the table are invalid, or images are missing.
    """
    check(a)
    scores = Scores(Path(a.table))
    rows = choose(a, scores)
    files = image_files(a, scores, rows) if a.link else []
    show(a, scores, rows)
    if a.list:
        text = "".join(f"{scores.ids[row]}\n" for row in rows)
        write_atomically(Path(a.list), lambda path: path.write_text(text, encoding="utf-8"))
        print(f"list: {a.list}")
    if a.link:
        made, there = link(files, scores.ids[rows].tolist(), Path(a.link))
        left = f"; {there} were there already, and left as they are" if there else ""
        print(f"links: {a.link} ({made} files{left})")


def check(a: Arguments) -> None:
    """Check the arguments.

    Raises:
      ConfigError: If not exactly one choice is made, or a number is out of its range.
    """
    if sum(choice is not None for choice in (a.lowest, a.highest, a.below)) != 1:
        raise ConfigError("choose rows with one of --lowest N, --highest N and --below P")
    for name in ("lowest", "highest"):
        value = getattr(a, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name} is {value}; it must be positive")
    if a.below is not None and not 0 < a.below <= 100:
        raise ConfigError(f"--below is {a.below:g}; it is a percentile, above 0 and at most 100")


def choose(a: Arguments, scores: Scores) -> np.ndarray:
    """Return the chosen rows [n], in their order; those of one class after those of another.

    Raises:
      ConfigError: If there is no column to choose by, or no label.
    """
    values, known = sort_values(scores, a.by)
    if not a.per_class:
        return _ends(a, values, np.flatnonzero(known))
    if "label" not in scores.columns:
        raise ConfigError(f"{scores.path} has no column label; leave out --per-class")
    label = scores.texts("label")
    found = [_ends(a, values, np.flatnonzero(known & (label == name))) for name in sorted(set(label[known]) - {""})]
    return np.concatenate([np.zeros(0, int), *found])


def sort_values(scores: Scores, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the values [N] of a column by which rows are sorted, and which rows have one [N].

    Raises:
      ConfigError: If there is no such column.
    """
    if scores.column(name).is_text:
        texts = scores.texts(name)
        return np.unique(texts.astype(str), return_inverse=True)[1].astype(float), texts != ""
    numbers = scores.numbers(name)
    return numbers, np.isfinite(numbers)


def _ends(a: Arguments, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the lowest or the highest of some rows."""
    order = rows[np.argsort(values[rows], kind="stable")]
    if a.highest is not None:
        return rows[np.argsort(-values[rows], kind="stable")][: a.highest]
    if a.lowest is not None:
        return order[: a.lowest]
    assert a.below is not None
    # As the column `percentile` counts: the share of rows with a lower value.
    lower = np.searchsorted(values[order], values[order], side="left")
    return order[100 * lower < a.below * len(order)]


def show(a: Arguments, scores: Scores, rows: np.ndarray) -> None:
    """Print the chosen rows."""
    if not len(rows):  # such as where nothing is a duplicate
        lacking = f"a value in the column {a.by}{' and a label' if a.per_class else ''}"
        print(f"0 of {len(scores)} rows of {scores.path}: none has {lacking}")
        return
    names = ["id", *dict.fromkeys(name for name in (a.by, *SHOWN) if name in scores.columns and name != "id")]
    text = [name for name in names if name == "id" or scores.column(name).is_text or name in ("label", "duplicate_of")]
    columns = [scores.texts(name) if name in text else scores.numbers(name) for name in names]
    kept = rows[:MAX_SHOWN]
    title = f"{len(rows)} of {len(scores)} rows of {scores.path}"
    show_rows(
        title, names, zip(*(column[kept] for column in columns), strict=True), [n for n in names if n not in text]
    )
    if len(rows) > MAX_SHOWN:
        print(f"... and {len(rows) - MAX_SHOWN} more; --list FILE writes all")


def image_files(a: Arguments, scores: Scores, rows: np.ndarray) -> list[Path]:
    """Return the image files of rows.

    Raises:
      ConfigError: If the samples are not images in a folder, or some are missing.
    """
    data = Path(a.images or scores.summary.get("data", ""))
    folder = data if data.is_dir() else data.parent
    if a.images is None and not scores.summary:
        raise ConfigError(
            f"{scores.path} has no FILE.json beside it that says where the images are; add --images FOLDER"
        )
    files = [folder / name for name in scores.ids[rows]]
    missing = [file for file in files if not file.is_file()]
    if missing:
        known = f"{len(missing)} of {len(files)} files are missing, the first is {missing[0]}"
        raise ConfigError(f"{known}; --link is for images, whose folder --images names")
    assert a.link is not None
    if folder.resolve() in (Path(a.link).resolve(), *Path(a.link).resolve().parents):
        raise ConfigError(f"--link {a.link} is within {folder}, whose images would then be there twice")
    return files


def link(files: Sequence[Path], ids: Sequence[str], folder: Path) -> tuple[int, int]:
    """Link files in a folder under their ids, or copy them where that is not possible.

    Returns:
      The number of new files, and of those that were there already.
    """
    made = 0
    for file, name in zip(files, ids, strict=True):
        # An id may be a path from the root, or lead out of the folder of a list.
        target = folder.joinpath(*(part for part in PurePosixPath(name).parts if part not in ("/", "..")))
        if target.exists() or target.is_symlink():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.symlink_to(file.resolve())
        except (OSError, NotImplementedError):  # some file systems have no links
            shutil.copy2(file, target)
        made += 1
    return made, len(files) - made


if __name__ == "__main__":
    script()
