"""The report page as a file: what stands in it, and what does not. What it does is in test_browser.py."""

import base64
import dataclasses
import io
import json
from importlib import resources

import numpy as np
import pytest
from PIL import Image

from score.page import charts, write_report
from score.page.content import END_ROWS, MAX_ROWS
from score.page.gallery import data_uri
from score.page.plot import Axis
from score.page.table import as_json
from tests.helpers.reports import FOLDERS, HOSTILE, Parsed, curated_page, image_page, world_page


def written(path, page):
    write_report(path / "report.html", page)
    assert [file.name for file in path.iterdir()] == ["report.html"]
    return (path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", [image_page(), world_page(), curated_page()], ids=["images", "world", "curated"])
def test_needs_nothing_else(tmp_path, page):
    parsed = Parsed(written(tmp_path, page))
    policy = next(a["content"] for tag, a in parsed.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    for tag, attributes in parsed.elements:
        assert tag not in ("iframe", "object", "embed", "base")
        for name in ("src", "srcset", "action", "data") if tag == "a" else ("src", "href", "srcset", "action", "data"):
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


def test_galleries_for_curation(tmp_path):
    page = curated_page()
    parsed, plain = Parsed(written(tmp_path, page)), Parsed(written(tmp_path, image_page()))
    assert (parsed.count("section", value="gallery"), plain.count("section", value="gallery")) == (5, 2)
    for tag in ("script", "i", "title"):  # whatever the names are
        assert parsed.count(tag) == plain.count(tag)
    assert list(parsed.galleries) == ["most", "least", "odd", "doubtful", "copies"]
    assert list(parsed.galleries.values())[2:] == [page.suspects.odd[:20].tolist(), [2, 40], [201, 200, 300]]
    assert parsed.count("li", value="pair") == 3
    shown = [int(a["data-row"]) for tag, a in parsed.elements if tag == "img"]
    assert shown[-6:] == [0, 201, 3, 200, 299, 300]
    links = [a["href"] for tag, a in parsed.elements if tag == "a"]
    assert links == [page.link(row) for row in shown]
    assert all(set(link) <= {*"/%-._~", *map(chr, range(48, 58)), *map(chr, range(65, 123))} for link in links)
    beside = parsed.rows["links"]
    assert beside.keys() == parsed.rows["pictures"].keys()
    assert all(address == page.link(int(row)) for row, address in beside.items())
    for name in ("class_percentile", "label_disagreement"):
        np.testing.assert_allclose(parsed.column(name), getattr(page.suspects, name), atol=0.05)
    of = parsed.column("duplicate_of")
    assert {i: name for i, name in enumerate(of) if name} == {201: page.ids[0], 200: page.ids[3], 300: page.ids[299]}


def test_a_gallery_of_nothing_says_so(tmp_path):
    page = curated_page(linked=False)
    none = np.zeros(0, int)
    text = written(
        tmp_path,
        dataclasses.replace(page, suspects=dataclasses.replace(page.suspects, doubtful=none, copies=none)),
    )
    assert "No label is in doubt" in text
    assert "There are none: no two embeddings" in text
    assert Parsed(text).count("a") == 0
    without = dataclasses.replace(page.suspects, class_percentile=None, label_disagreement=None)
    parsed = Parsed(written(tmp_path, dataclasses.replace(page, suspects=without)))
    assert parsed.count("section", value="gallery") == 3


def test_what_curation_finds_is_in_a_page_of_many_rows():
    count = 3 * MAX_ROWS
    page = world_page(count)
    middle = page.order[count // 2 :][:60]
    suspects = dataclasses.replace(curated_page().suspects, odd=middle[:20], doubtful=middle[20:40], copies=middle[40:])
    page = dataclasses.replace(page, suspects=suspects)
    assert set(middle) <= set(page.rows)
    assert len(page.rows) == len(set(page.rows)) == MAX_ROWS


def test_the_origin_and_all_notes_are_shown(tmp_path):
    page = curated_page()
    text = written(tmp_path, page)
    section = text.split('<section class="about">')
    assert len(section) == 3
    encoder = Parsed(section[1]).text
    for fact in ("dinov2", "Meta, no registers", "teacher", "gelu", "bicubic-offset", "518", "Apache 2.0."):
        assert fact in encoder["dd"]
    assert "resized to 64 (shortest side), cropped to 56, bicubic" in encoder["dd"]
    assert encoder["li"].count("assumed") == 1
    assert "<script>window.hacked=1</script> beside the encoder" in encoder["li"]
    assert "3 .txt" in Parsed(section[2]).text["li"]
    many = [f"note {i}, with a long sentence about what had to be assumed" for i in range(60)]
    origin = page.summary["origin"] | {"notes": many}
    text = written(tmp_path, dataclasses.replace(page, summary={"origin": origin}))
    assert all(text.count(f"<li>{note}</li>") == 2 for note in many)  # there, and in how it was computed
    assert 'class="about"' not in written(tmp_path, image_page())


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
    assert template.count("<!--") == 10
    assert "<!--" not in written(tmp_path, image_page())
