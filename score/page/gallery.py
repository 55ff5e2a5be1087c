"""Pictures of the most and the least likely samples, as in the paper's first figure, and some for the table."""

import base64
import io
from collections.abc import Iterable
from html import escape

import numpy as np
from PIL import Image

from .content import Page
from .plot import number

GALLERY_PICTURES = 20
TABLE_PICTURES = 90  # further pictures at each end, shown in the table
UNSCORED_PICTURES = 20  # pictures of rows without a score, shown in the table
THUMBNAIL_PIXELS = 96
MAX_PNG_PIXELS = 32  # side up to which PNG is as small as JPEG, and sharper


def galleries(page: Page) -> tuple[str, dict[int, str]]:
    """Draw both galleries.

    Returns:
      The HTML of the galleries, and the other pictures in the table by the index of their row in it. Both are empty if
      the data are not images.
    """
    count = min(GALLERY_PICTURES, -(-len(page.order) // 2))
    ends = {"most": page.order[::-1][:count], "least": page.order[:count]}
    shown = pictures(page, np.union1d(*ends.values()))
    if not shown:
        return "", {}
    place = {row: i for i, row in enumerate(page.rows.tolist())}
    parts = []
    for name, rows in ends.items():
        items = "".join(item(page, row, place[row], shown.get(row)) for row in rows.tolist())
        parts.append(f'<section class="gallery {name}"><h2>{name.capitalize()} likely</h2><ul>{items}</ul></section>')
    without = np.setdiff1d(page.rows, page.order)[:UNSCORED_PICTURES]
    further = np.concatenate([page.order[count:][:TABLE_PICTURES], page.order[::-1][count:][:TABLE_PICTURES], without])
    beside = pictures(page, np.setdiff1d(further, list(shown)))
    return "".join(parts), {place[row]: picture for row, picture in beside.items()}


def item(page: Page, row: int, place: int, picture: str | None) -> str:
    """Draw one picture of a gallery.

    Args:
      page: Content of the report.
      row: Row of the sample.
      place: Index of the row in the table, by which the script finds the picture.
      picture: Address of the picture, or None.
    """
    name = escape(str(page.ids[row]))
    image = f'<img data-row="{place}" src="{picture}" alt="" width="96" height="96">' if picture else ""
    return (
        f'<li><div class="picture">{image}</div><b>{number(page.score[row], f".{page.digits}f")}</b>'
        f'<span>{page.percentile[row]:.1f} %</span><small title="{name}">{name}</small></li>'
    )


def pictures(page: Page, rows: Iterable[int]) -> dict[int, str]:
    """Return row -> address of the small picture, for the rows that have one."""
    found = ((int(row), page.thumbnail(int(row))) for row in rows)
    return {row: data_uri(image) for row, image in found if image is not None}


def data_uri(image: Image.Image) -> str:
    """Return a small copy of a picture as a data URI."""
    image = image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
    image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    kind, options = ("png", {}) if max(image.size) <= MAX_PNG_PIXELS else ("jpeg", {"quality": 82})
    file = io.BytesIO()
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"
