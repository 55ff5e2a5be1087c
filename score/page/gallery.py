"""The pictures: the most and the least likely, as the paper's first figure shows them, and some for the table."""

import base64
import io
from collections.abc import Iterable
from html import escape

import numpy as np
from PIL import Image

from .content import Page
from .plot import number

END = 20  # pictures in a gallery
FURTHER = 90  # and so many more at each end in the table
WITHOUT = 20  # rows without a score whose picture the table shows
SIDE = 96  # pixels
LOSSLESS = 32  # pixels up to which PNG is as small as JPEG, and sharp


def galleries(page: Page) -> tuple[str, dict[int, str]]:
    """Both galleries.

    Returns:
      their HTML, and the pictures that the table shows beside them, by the row's place in it; nothing of data that are
      no pictures.
    """
    count = min(END, -(-len(page.order) // 2))
    ends = {"most": page.order[::-1][:count], "least": page.order[:count]}
    shown = pictures(page, np.union1d(*ends.values()))
    if not shown:
        return "", {}
    place = {row: i for i, row in enumerate(page.rows.tolist())}
    parts = []
    for name, rows in ends.items():
        items = "".join(item(page, row, place[row], shown.get(row)) for row in rows.tolist())
        parts.append(f'<section class="gallery {name}"><h2>{name.capitalize()} likely</h2><ul>{items}</ul></section>')
    without = np.setdiff1d(page.rows, page.order)[:WITHOUT]
    further = np.concatenate([page.order[count:][:FURTHER], page.order[::-1][count:][:FURTHER], without])
    beside = pictures(page, np.setdiff1d(further, list(shown)))
    return "".join(parts), {place[row]: picture for row, picture in beside.items()}


def item(page: Page, row: int, place: int, picture: str | None) -> str:
    """One picture of a gallery; the script finds it by its row's place in the table."""
    name = escape(str(page.ids[row]))
    image = f'<img data-row="{place}" src="{picture}" alt="" width="96" height="96">' if picture else ""
    return (
        f'<li><div class="picture">{image}</div><b>{number(page.score[row], f".{page.digits}f")}</b>'
        f'<span>{page.percentile[row]:.1f} %</span><small title="{name}">{name}</small></li>'
    )


def pictures(page: Page, rows: Iterable[int]) -> dict[int, str]:
    """Row -> small picture, of those rows that have one."""
    found = ((int(row), page.thumbnail(int(row))) for row in rows)
    return {row: data_uri(image) for row, image in found if image is not None}


def data_uri(image: Image.Image) -> str:
    """A small copy of a picture, as an address that holds it."""
    image = image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    kind, options = ("png", {}) if max(image.size) <= LOSSLESS else ("jpeg", {"quality": 82})
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
