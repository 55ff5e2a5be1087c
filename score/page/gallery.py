"""Pictures of the most and the least likely samples, as in the paper's first figure, and of those to curate."""

import base64
import io
from collections.abc import Callable, Iterable
from html import escape
from typing import NamedTuple

import numpy as np
from PIL import Image

from .content import GALLERY_PICTURES, Page, Suspects
from .plot import number

TABLE_PICTURES = 90  # further pictures at each end, shown in the table
UNSCORED_PICTURES = 20  # pictures of rows without a score, shown in the table
THUMBNAIL_PIXELS = 96
MAX_PNG_PIXELS = 32  # side up to which PNG is as small as JPEG, and sharper


class Gallery(NamedTuple):
    """Pictures of some samples with a heading.

    Attributes:
      name: Class of the section, and name of the file to download.
      title: Heading.
      said: Sentence below it, or "".
      rows: Rows of the samples in their order.
      value: row -> the number above its name, and what it is; HTML.
      beside: Rows whose pictures stand beside these, or ().
    """

    name: str
    title: str
    said: str
    rows: np.ndarray
    value: Callable[[int], str]
    beside: np.ndarray | tuple[()] = ()


def galleries(page: Page) -> tuple[str, dict[int, str]]:
    """Draw all galleries.

    Returns:
      The HTML of the galleries, and the other pictures in the table by the index of their row in it. Both are empty if
      the data are not images.
    """
    count = min(GALLERY_PICTURES, -(-len(page.order) // 2))

    def score(row: int) -> str:
        return f"<b>{number(page.score[row], f'.{page.digits}f')}</b><span>{page.percentile[row]:.1f} %</span>"

    found = [
        Gallery("most", "Most likely", "", page.order[::-1][:count], score),
        Gallery("least", "Least likely", "", page.order[:count], score),
        *([] if page.suspects is None else curated(page, page.suspects)),
    ]
    every = [np.asarray(rows, int) for gallery in found for rows in (gallery.rows, gallery.beside)]
    shown = pictures(page, np.unique(np.concatenate(every)))
    if not shown:
        return "", {}
    place = {row: i for i, row in enumerate(page.rows.tolist())}
    parts = [section(page, gallery, place, shown) for gallery in found]
    without = np.setdiff1d(page.rows, page.order)[:UNSCORED_PICTURES]
    further = np.concatenate([page.order[count:][:TABLE_PICTURES], page.order[::-1][count:][:TABLE_PICTURES], without])
    beside = pictures(page, np.setdiff1d(further, list(shown)))
    return "".join(parts), {place[row]: picture for row, picture in beside.items()}


def curated(page: Page, suspects: Suspects) -> list[Gallery]:
    """Return the galleries of the samples to look at for curation."""
    percentile, doubt, classes = suspects.class_percentile, suspects.label_disagreement, page.classes

    def label(row: int) -> str:
        return "" if classes is None else f"<span>{escape(str(classes[row]))}</span>"

    def odd(row: int) -> str:
        return f"<b>{0 if percentile is None else percentile[row]:.1f} %</b>{label(row)}"

    def doubtful(row: int) -> str:
        return f"<b>{0 if doubt is None else 100 * doubt[row]:.0f} %</b>{label(row)}"

    def apart(row: int) -> str:
        return f"<b>{number(suspects.distance[row], '.3g')}</b>"

    found = []
    if percentile is not None:
        said = "The lowest and the highest scores of each class, by the percentile within it."
        found.append(Gallery("odd", "Odd in their class", said, suspects.odd[:GALLERY_PICTURES], odd))
        said = "Share of the nearest embeddings that have another label than the sample, which is below it."
        if not len(suspects.doubtful):
            said = "No label is in doubt: every sample shares its label with half of the nearest embeddings or more."
        found.append(Gallery("doubtful", "Labels in doubt", said, suspects.doubtful[:GALLERY_PICTURES], doubtful))
    said = "Pairs by the distance of their embeddings; the right one comes later in the data."
    if not len(suspects.copies):
        said = "There are none: no two embeddings are far nearer to each other than is usual."
    rows = suspects.copies[:GALLERY_PICTURES]
    found.append(Gallery("copies", "Near-duplicates", said, rows, apart, suspects.duplicate_of[rows]))
    return found


def section(page: Page, gallery: Gallery, place: dict[int, int], shown: dict[int, str]) -> str:
    """Draw a gallery.

    Args:
      page: Content of the report.
      gallery: Gallery.
      place: Index in the table by row, by which the script finds a picture and its row.
      shown: Addresses of the small pictures by row.
    """
    items = []
    for i, row in enumerate(gallery.rows.tolist()):
        others = [int(gallery.beside[i])] if len(gallery.beside) else []
        images = "".join(picture(page, other, place, shown) for other in (*others, row))
        names = "".join(name_of(page, other) for other in (*others, row))
        kind = ' class="pair"' if others else ""
        items.append(f"<li{kind}><div>{images}</div>{gallery.value(row)}{names}</li>")
    rows = ",".join(str(place[row]) for row in gallery.rows.tolist())
    button = f'<button type="button" class="download" data-rows="{rows}" hidden>Download these rows</button>'
    head = f'<div class="head"><h2>{gallery.title}</h2>{button if items else ""}</div>'
    said = f"<p>{gallery.said}</p>" if gallery.said else ""
    listed = f"<ul>{''.join(items)}</ul>" if items else ""
    return f'<section class="gallery {gallery.name}" data-name="{gallery.name}">{head}{said}{listed}</section>'


def picture(page: Page, row: int, place: dict[int, int], shown: dict[int, str]) -> str:
    """Draw the picture of a row, with a link to its file if there is one."""
    at = f' data-row="{place[row]}"' if row in place else ""
    image = f'<img{at} src="{shown[row]}" alt="" width="96" height="96">' if row in shown else ""
    link = page.link(row)
    if link is None:
        return f'<div class="picture">{image}</div>'
    label = escape(str(page.ids[row]))
    return f'<a class="picture" href="{escape(link)}" aria-label="{label}">{image}</a>'


def name_of(page: Page, row: int) -> str:
    """Return the id of a row, which may be cut where it is long."""
    text = escape(str(page.ids[row]))
    return f'<small title="{text}">{text}</small>'


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
