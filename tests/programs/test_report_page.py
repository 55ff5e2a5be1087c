"""The report page as a file: what stands in it, and what does not. What it does is in test_browser.py."""

import base64
import dataclasses
import io
import json
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from score.page import charts, write_report
from score.page.content import END_ROWS, MAX_ROWS
from score.page.gallery import data_uri
from score.page.plot import Axis
from score.page.table import as_json
from tests.helpers.reports import FOLDERS, HOSTILE, image_page, world_page


class Parsed(HTMLParser):
    """A page taken apart: its elements with their attributes, and the text in each kind of element."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.latest = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.latest = tag

    def handle_data(self, data):
        self.text[self.latest] = self.text.get(self.latest, "") + data

    def handle_endtag(self, tag):
        self.latest = f"/{tag}"

    def count(self, tag, name="class", value=None):
        return sum(kind == tag and (value is None or value in (a.get(name) or "").split()) for kind, a in self.elements)

    @property
    def rows(self):
        script = self.text["script"]
        return json.JSONDecoder().raw_decode(script[script.index("{") :])[0]

    def column(self, name):
        return next((column["values"] for column in self.rows["columns"] if column["name"] == name), None)


def written(path, page):
    write_report(path / "report.html", page)
    assert [file.name for file in path.iterdir()] == ["report.html"]
    return (path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [image_page(), world_page()], ids=["images", "world"])
def test_needs_nothing_else(tmp_path, page):
    parsed = Parsed(written(tmp_path, page))
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    for tag, attributes in parsed.elements:
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert "http" not in parsed.text["style"] + parsed.text["script"]


def test_hostile_names_are_text(tmp_path):
    plain = image_page()
    text = written(tmp_path, plain)
    names = [f"{i}.png" for i in range(len(plain.ids))]
    harmless = dataclasses.replace(
        plain, title="t", model="m", data="d", ids=names, labels=["a", "b"] * 165, summary={}
    )
    hostile, tame = Parsed(text), Parsed(written(tmp_path, dataclasses.replace(harmless, reasons=[""] * 330)))
    for tag in ("script", "img", "b", "i", "title"):
        assert hostile.count(tag) == tame.count(tag)
    assert all(not name.startswith("on") for _, attributes in hostile.elements for name in attributes)
    assert hostile.column("id") == plain.ids
    assert set(hostile.column("class")) == set(FOLDERS)
    assert all(name not in text for name in HOSTILE[:4])


def test_a_name_that_is_no_unicode(tmp_path):
    page = image_page()
    ids = [*page.ids[:-1], "hen/\udcff.png"]
    assert Parsed(written(tmp_path, dataclasses.replace(page, ids=ids))).column("id") == ids


@pytest.mark.parametrize("value", ["</script>", "<!--", "&lt;", "\u2028\u2029", {"<": ['"', "\\", None, 1.5]}])
def test_json_in_a_script(value):
    text = as_json(value)
    assert json.loads(text) == value
    assert not set(text) & set("<>&\u2028\u2029")


def test_what_is_not_known_is_left_out(tmp_path):
    images, world = (Parsed(written(tmp_path, page)) for page in (image_page(), world_page()))
    assert [images.count("section", value="gallery"), world.count("section", value="gallery")] == [2, 0]
    assert [images.count("g", value="dots"), world.count("g", value="dots")] == [0, 2]  # spectrum of two, scatter
    assert [images.count("table", value="classes"), world.count("table", value="classes")] == [1, 0]
    columns = [[column["name"] for column in page.rows["columns"]] for page in (images, world)]
    assert columns == [
        ["id", "class", "score", "percentile", "clipped", "reason"],
        ["id", "score", "percentile", "log_density", "clipped"],
    ]
    assert world.rows["pictures"] == {}
    assert "0.9877" in world.text["dd"]


def test_galleries_and_pictures(tmp_path):
    page = image_page()
    parsed = Parsed(written(tmp_path, page))
    shown = [int(a["data-row"]) for tag, a in parsed.elements if tag == "img"]
    order = np.argsort(page.score)[:327]
    assert shown == [*order[::-1][:20], *order[:20]]
    beside = {int(row) for row in parsed.rows["pictures"]}
    assert beside == {*order[20:110], *order[-110:-20]}
    sources = [a["src"] for tag, a in parsed.elements if tag == "img"]
    for source in [*sources, *parsed.rows["pictures"].values()]:
        image = Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))
        assert max(image.size) == 96


@pytest.mark.parametrize(("mode", "size", "kind"), [("L", 8, "png"), ("RGB", 200, "jpeg"), ("RGBA", 50, "jpeg")])
def test_pictures_of_any_kind(mode, size, kind):
    image = Image.new(mode, (size, size))
    assert data_uri(image).startswith(f"data:image/{kind};base64,")
    assert image.size == (size, size)


def test_percentiles_are_shares_of_lower_scores():
    page = dataclasses.replace(image_page(4, broken=0), score=np.array([3, 1, np.nan, 1], np.float32))
    np.testing.assert_array_equal(page.percentile, [66.6, 0, np.nan, 0])
    assert page.order.tolist() == [1, 3, 0]


def test_of_many_rows_the_ends_and_some(tmp_path):
    count = 3 * MAX_ROWS
    page = world_page(count)
    order = np.argsort(page.score)
    assert len(page.rows) == len(set(page.rows)) == MAX_ROWS
    assert {*order[:END_ROWS], *order[-END_ROWS:]} <= set(page.rows)
    text = written(tmp_path, page)
    assert f"The page holds {MAX_ROWS:,} of {count:,} samples" in text
    assert len(text) < 4e6
    assert len(Parsed(text).column("score")) == MAX_ROWS


def test_rounding_tells_scores_apart():
    for scale in (1e-3, 1, 1e3):
        page = dataclasses.replace(world_page(), score=scale * np.linspace(0, 1, 101, dtype=np.float32))
        assert len(set(np.round(page.score.astype(float), page.digits))) == 101


@pytest.mark.parametrize(
    "score",
    [[np.nan] * 3, [1.0, np.nan, np.nan], [2.0, 2.0, 2.0], [-1e6, 0.0, 1e-3], []],
    ids=["none", "one", "equal", "far", "empty"],
)
def test_pages_of_odd_scores(tmp_path, score):
    n = len(score)
    page = dataclasses.replace(
        image_page(n, broken=0),
        ids=[f"{i}/x.png" for i in range(n)],
        score=np.array(score, np.float32),
        truth=np.arange(n),
        reasons=["" if np.isfinite(value) else "it is broken" for value in score],
        sigma=np.ones((1, 1)),
    )
    text = written(tmp_path, page)
    assert Parsed(text).column("id") == page.ids
    assert ("No sample has a score." in text) == (not np.isfinite(score).any())
    assert "nan" not in text.split("<body>")[1].split("<script")[0]


def test_no_spectra(tmp_path):
    text = written(tmp_path, dataclasses.replace(world_page(), sigma=np.zeros((0, 2))))
    assert "Spectrum" not in text


def test_the_histogram_counts_everything():
    score = np.concatenate([np.random.default_rng(0).normal(size=1000), [-1e3, 1e4]])
    edges = charts.bin_edges(score)
    assert -10 < edges[0] < edges[-1] < 10
    drawn = charts.histogram(score, 2)
    assert "The first bar also holds 1 below" in drawn
    assert "The last bar also holds 1 above" in drawn
    bars = Parsed(drawn)
    tips = [a["data-tip"] for tag, a in bars.elements if tag == "g"]
    assert sum(int(tip.split(": ")[1].split(" ")[0].replace(",", "")) for tip in tips) == 1002
    assert tips[0].startswith("below")
    assert tips[-1].startswith("above")


def test_of_many_classes_both_ends():
    labels = np.repeat(np.array([f"class {i}" for i in range(70)], dtype=object), 3)
    score = np.repeat(np.arange(70.0), 3)
    page = Parsed(charts.boxes(score, labels, 1))
    assert page.count("tr") == charts.MAX_CLASSES + 2
    assert "20 classes in the middle are not shown" in page.text["/span"]
    medians = [float(a["data-tip"].split(" % ")[1].split(" ")[0]) for tag, a in page.elements if "data-tip" in a]
    assert medians == [*range(69, 44, -1), *range(24, -1, -1)]


@pytest.mark.parametrize(
    "axis",
    [Axis("", -1e-3, 2e-3), Axis("", -310, 3), Axis("", 0, 2.1, whole=True), Axis("", 1e-8, 30, log=True),
     Axis("", 0.9, 7, log=True)],
)  # fmt: skip
def test_ticks_are_few_and_inside(axis):
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 8
    at = [float(axis.at(tick)) for tick in ticks]
    assert at == sorted(at)
    assert 0 <= at[0] < at[-1] <= 100
    assert all(tick == int(tick) for tick in ticks) or not axis.whole


def test_nothing_half_written(tmp_path):
    def fail(row):
        raise MemoryError

    with pytest.raises(MemoryError):
        write_report(tmp_path / "report.html", dataclasses.replace(image_page(), thumbnail=fail))
    assert list(tmp_path.iterdir()) == []


def test_the_template_is_filled(tmp_path):
    template = resources.files("score.page").joinpath("page.html").read_text()
    assert template.count("<!--") == 9
    assert "<!--" not in written(tmp_path, image_page())
