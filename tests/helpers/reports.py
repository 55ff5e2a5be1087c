"""Score runs to make report pages of."""

import dataclasses

import numpy as np
from PIL import Image, ImageDraw

from score.page import Page

HOSTILE = (
    '<img src=x onerror="window.hacked=1">.png',
    "</script><script>window.hacked=1</script>.png",
    "\"' onmouseover='window.hacked=1' x=\".png",
    "<!--rows--> &amp; &lt;b&gt; \\u003c ${window.hacked=1}.png",
    "\u2028\u2029\u202egnp.\U0001f98b \u00fcml\u00e4ut.png",
)
FOLDERS = ("hen", "zebra <b>", "ostrich", "junco")


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
