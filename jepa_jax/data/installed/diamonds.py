"""Prices and measures of diamonds, a table of categories and numbers."""

import csv

import numpy as np

from jepa_jax.data.columns import first_copies
from jepa_jax.data.dataset import is_held_out
from jepa_jax.data.installed.locate import files, reading
from jepa_jax.data.samples import Samples

GRADES: dict[str, list[str]] = {
    "color": ["D", "E", "F", "G", "H", "I", "J"],
    "clarity": ["I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"],
}
NUMBERS = ("carat", "depth", "table", "price", "x", "y", "z")


def read_diamonds() -> Samples:
    """Return the diamonds of plotnine as rows [53940, 9] of colour, clarity and seven numbers, with the cut as label.

    Categories are their places in the order of grades, and numbers are in the units of the file (carats, percent,
    dollars, mm). A random half, the same in every run, is held out; copies of a row go with it.

    Raises:
      ConfigError: If plotnine is not installed, or the file is damaged.
    """
    (path,) = files("diamonds", "plotnine", "data/diamonds.csv")
    with reading("diamonds", path), path.open(newline="") as file:
        rows = list(csv.DictReader(file))
        columns = [[grades.index(row[name]) for row in rows] for name, grades in GRADES.items()]
        columns += [[float(row[name]) for row in rows] for name in NUMBERS]
        label = np.array([row["cut"] for row in rows])
        x = np.array(columns, np.float32).T
        if not np.isfinite(x).all():
            raise ValueError("a number is not finite")
    categories = (*(len(grades) for grades in GRADES.values()), *[0] * len(NUMBERS))
    basis = np.eye(len(categories), dtype=np.float32)[:, len(GRADES) :]
    return Samples(
        x,
        label=label,
        tangent=np.broadcast_to(basis, (len(rows), *basis.shape)),
        held_out=is_held_out(len(x), 0.5)[first_copies(x)],
        categories=categories,
        name="diamonds",
    )
