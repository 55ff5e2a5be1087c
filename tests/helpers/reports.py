"""Score runs to make report pages of, and pages taken apart."""

import dataclasses
import json
from html.parser import HTMLParser
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw

from score.page import Page, Suspects

HOSTILE = (
    '<img src=x onerror="window.hacked=1">.png',
    "</script><script>window.hacked=1</script>.png",
    "\"' onmouseover='window.hacked=1' x=\".png",
    "<!--rows--> &amp; &lt;b&gt; \\u003c ${window.hacked=1}.png",
    "\u2028\u2029\u202egnp.\U0001f98b \u00fcml\u00e4ut.png",
)
FOLDERS = ("hen", "zebra <b>", "ostrich", "junco")


class Parsed(HTMLParser):
    """A page taken apart: its elements with their attributes, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.latest = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.latest = tag

    def handle_data(self, data: str) -> None:
        self.text[self.latest] = self.text.get(self.latest, "") + data

    def handle_endtag(self, tag: str) -> None:
        self.latest = f"/{tag}"

    def count(self, tag: str, name: str = "class", value: str | None = None) -> int:
        return sum(kind == tag and (value is None or value in (a.get(name) or "").split()) for kind, a in self.elements)

    @property
    def rows(self) -> dict[str, Any]:
        script = self.text["script"]
        return json.JSONDecoder().raw_decode(script[script.index("{") :])[0]

    def column(self, name: str) -> Any:
        return next((column["values"] for column in self.rows["columns"] if column["name"] == name), None)

    @property
    def galleries(self) -> dict[str, list[int]]:
        """Rows of the galleries of some pictures, by the names of the galleries."""
        names = [a["data-name"] for tag, a in self.elements if tag == "section" and a.get("data-name")]
        rows = [a["data-rows"] for tag, a in self.elements if tag == "button" and a.get("data-rows")]
        return {str(name): [int(row) for row in str(text).split(",")] for name, text in zip(names, rows, strict=True)}


def picture(row: int) -> Image.Image:
    """A colourful picture, never the same twice."""
    draw = np.random.default_rng(row)
    image = Image.new("RGB", (160, 120), tuple(draw.integers(60, 256, 3).tolist()))
    for _ in range(draw.integers(2, 9)):
        x, y, size = draw.integers(0, (130, 90, 60)).tolist()
        ImageDraw.Draw(image).ellipse((x, y, x + size, y + size), fill=tuple(draw.integers(0, 256, 3).tolist()))
    return image


def image_page(count: int = 330, broken: int = 3) -> Page:
    """Images in folders, some with hostile names, the last few without a score."""
    draw = np.random.default_rng(0)
    ids = [f"{FOLDERS[i % 4]}/{i}.png" for i in range(count)]
    ids[: len(HOSTILE)] = [f"hen/{name}" for name in HOSTILE]
    score = draw.normal(-300, 40, count).astype(np.float32)
    score[count - broken :] = np.nan
    without = "the file <i>cannot</i> be read"
    return Page(
        title="photos <i>of</i> birds",
        model="runs/</title><script>window.hacked=1</script>",
        data="photos & more",
        summary={
            "count": count,
            "options": {"eps": 1e-6, "<b>": "<script>window.hacked=1</script>"},
            "mean": [0.5, 0.4],
        },
        ids=ids,
        score=score,
        log_density=np.full(count, np.nan, np.float32),
        clipped=draw.integers(0, 20, count),
        reasons=[without if np.isnan(value) else "" for value in score],
        truth=None,
        sigma=np.sort(np.exp(draw.normal(0, 2, (40, 64))).astype(np.float32))[:, ::-1],
        thumbnail=lambda row: picture(row) if np.isfinite(score[row]) else None,
    )


def world_page(count: int = 500) -> Page:
    """A synthetic world: row numbers, no pictures, the exact log-density known."""
    draw = np.random.default_rng(1)
    truth = -draw.gamma(2, 1, count)
    score = (0.5 * truth + draw.normal(0, 0.1, count)).astype(np.float32)
    page = image_page(count, broken=0)
    return dataclasses.replace(
        page,
        title="mixture_2d",
        summary={"spearman": 0.9877},
        ids=np.arange(count),
        score=score,
        log_density=score - np.float32(2.5),
        truth=truth,
        sigma=np.exp(draw.normal(1, 0.5, (40, 2))),
        thumbnail=lambda row: None,
    )


def curated_page(count: int = 330, linked: bool = True) -> Page:
    """The page of images with what curation finds, links to the files, and an encoder of others."""
    page, draw = image_page(count), np.random.default_rng(2)
    of, apart = np.full(count, -1), np.full(count, np.nan)
    for row, original, far in ((200, 3, 0.02), (201, 0, 0.001), (300, 299, 0.03)):
        of[row], apart[row] = original, far
    doubt = draw.integers(0, 6, count) / 10
    doubt[[2, 40]] = 1, 0.9
    suspects = Suspects(
        odd=draw.permutation(count - 3),
        doubtful=np.array([2, 40]),
        copies=np.array([201, 200, 300]),
        class_percentile=draw.uniform(0, 99, count),
        label_disagreement=doubt,
        duplicate_of=of,
        distance=apart,
    )
    origin = {
        "family": "dinov2", "arch": None, "layout": "Meta, no registers", "branch": "teacher", "role": "teacher",
        "heads": 6, "activation": "gelu", "patch_size": 14, "native_image_size": 518, "positions": "bicubic-offset",
        "notes": ["the number of heads, 6, is assumed", "<script>window.hacked=1</script> beside the encoder"],
        "left_out": {"dino_head.*": "a head that only training uses"}, "description": None, "licence": "Apache 2.0.",
    }  # fmt: skip
    recipe = {
        "size": [56, 56],
        "resize": 64,
        "resample": "bicubic",
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
        "source": "a file",
    }
    notes = ["files of photos that are no pictures: 3 .txt"]
    return dataclasses.replace(
        page,
        summary={**page.summary, "origin": origin, "preprocessing": recipe, "notes": notes},
        suspects=suspects,
        link=lambda row: f"photos/{quote(str(page.ids[row]))}" if linked else None,
    )
