"""The report page in a real browser.

Skipped where no Chromium is installed, unless JEPA_JAX_BROWSER=required says that there should be one.
"""

import json
import os
import shutil
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from score.page import write_report
from score.page.content import MAX_ROWS
from score.scores import Scores
from tests.helpers.reports import FOLDERS, HOSTILE, curated_page, image_page, picture, world_page

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,900",
]

COLUMN = """
const at = [...document.querySelectorAll("#table th")].findIndex(header => header.dataset.name === arguments[0]);
return [...document.querySelectorAll("#table tbody tr")].map(
  row => row.querySelectorAll("td:not(.picture-cell)")[at].textContent.replace("\\u2212", "-"));
"""


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser with an empty profile, which looks for no driver and calls nobody."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        if os.environ.get("JEPA_JAX_BROWSER") == "required":
            pytest.fail("JEPA_JAX_BROWSER=required, and chromium or chromedriver is not installed")
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options, webdriver.ChromeService(driver)) as browser:
        yield browser


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The pages, as addresses."""
    folder = tmp_path_factory.mktemp("pages")
    pages = {"images": image_page(), "world": world_page(), "large": world_page(MAX_ROWS), "curated": curated_page()}
    for name, page in pages.items():
        write_report(folder / f"{name}.html", page)
    return {name: (folder / f"{name}.html").as_uri() for name in pages}


@pytest.fixture
def opened(chromium, files):
    """Open a page by its name; afterwards its console must be empty, and no name may have run."""
    chromium.get_log("browser")

    def open_page(name):
        chromium.get(files[name])
        return chromium

    yield open_page
    assert chromium.get_log("browser") == []
    assert chromium.execute_script("return window.hacked") is None


def column(browser, name):
    return browser.execute_script(COLUMN, name)


def header(browser, name):
    return browser.find_element(By.CSS_SELECTOR, f'#table th[data-name="{name}"]')


def fill(browser, name, text):
    field = browser.find_element(By.ID, name)
    field.clear()
    field.send_keys(text)


def shown(browser):
    return browser.find_element(By.ID, "count").text


@pytest.mark.parametrize(("page", "name"), [("images", "score"), ("world", "id"), ("world", "log_density")])
def test_numbers_sort_as_numbers(opened, page, name):
    browser = opened(page)
    header(browser, "clipped").click()
    for word, sign in (("ascending", 1), ("descending", -1)):
        header(browser, name).find_element(By.TAG_NAME, "button").click()
        assert header(browser, name).get_attribute("aria-sort") == word
        assert len(browser.find_elements(By.CSS_SELECTOR, "[aria-sort]")) == 1
        values = [sign * float(value) for value in column(browser, name)]
        assert len(values) == 100
        assert values == sorted(values)


def test_words_sort_by_keyboard_with_numbers_in_order(opened):
    browser = opened("images")
    fill(browser, "words", "zebra")
    button = header(browser, "id").find_element(By.TAG_NAME, "button")
    for sign in (1, -1):
        button.send_keys(Keys.ENTER)
        numbers = [sign * int(name.split("/")[1].removesuffix(".png")) for name in column(browser, "id")]
        assert len(numbers) == 83 - 1
        assert numbers == sorted(numbers)


def test_rows_without_a_score_come_last(opened):
    browser = opened("images")
    for _ in range(2):
        header(browser, "score").find_element(By.TAG_NAME, "button").click()
        while browser.find_element(By.ID, "next").is_enabled():
            browser.find_element(By.ID, "next").click()
        assert column(browser, "score")[-4:].count("") == 3
        assert column(browser, "reason")[-1] == "the file <i>cannot</i> be read"
        assert shown(browser) == "301 to 330 of 330"


def test_the_filter_by_text(opened):
    browser, page = opened("images"), image_page()
    fill(browser, "words", "JUNCO/1")
    assert {*column(browser, "id")} == {name for name in page.ids if "junco/1" in name.lower()}
    fill(browser, "words", "cannot")
    assert {*column(browser, "id")} == {*page.ids[-3:]}
    fill(browser, "words", "nothing is called so")
    assert column(browser, "id") == []
    assert shown(browser) == "none of 330 matches"
    browser.find_element(By.CSS_SELECTOR, "[type=reset]").click()
    # A form is reset after its event, so the page filters in a task of its own.
    WebDriverWait(browser, 10).until(lambda browser: shown(browser) == "1 to 100 of 330")


@pytest.mark.parametrize(("low", "high"), [("-260", ""), ("", "-350"), ("-310", "-305.5"), ("5", "6")])
def test_the_filter_by_score(opened, low, high):
    browser, page = opened("images"), image_page()
    fill(browser, "low", low)
    fill(browser, "high", high)
    rounded = page.score.round(page.digits)
    inside = (rounded >= float(low or -1e9)) & (rounded <= float(high or 1e9))
    assert {*column(browser, "id")} == {page.ids[row] for row in inside.nonzero()[0]}


def test_the_ends_of_the_range_belong_to_it(opened):
    browser = opened("world")
    least, score = column(browser, "id")[0], column(browser, "score")[0]
    fill(browser, "low", score)
    fill(browser, "high", score)
    assert column(browser, "id") == [least]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_filter_by_class(opened, folder):
    browser, page = opened("images"), image_page()
    Select(browser.find_element(By.ID, "class")).select_by_visible_text(folder)
    assert {*column(browser, "id")} == {name for name in page.ids if name.startswith(folder)}
    assert {*column(browser, "class")} == {folder}


def test_hostile_names_show_as_text(opened):
    browser = opened("images")
    for name in HOSTILE:
        fill(browser, "words", name[:14])
        assert f"hen/{name}" in column(browser, "id")
    assert browser.title == "photos <i>of</i> birds"
    assert "</title><script>" in browser.find_element(By.TAG_NAME, "header").text
    browser.find_element(By.TAG_NAME, "summary").click()
    assert "<script>" in browser.find_element(By.TAG_NAME, "details").text


def test_the_histogram_says_what_it_shows(opened):
    browser = opened("images")
    bars = browser.find_elements(By.CSS_SELECTOR, "#histogram g[data-tip]")
    ActionChains(browser).move_to_element(bars[len(bars) // 2]).perform()
    tip = browser.find_element(By.CSS_SELECTOR, "#histogram .tip").text
    assert tip == bars[len(bars) // 2].get_attribute("data-tip")
    fill(browser, "low", "-300")
    parts = browser.execute_script(
        'return [...document.querySelectorAll("#histogram .part")].map(bar => bar.style.transform)'
    )
    assert parts[0] == "scaleY(0)"
    assert parts[-1] == "scaleY(1)"


def test_the_table_has_pictures(opened):
    browser = opened("images")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#table tbody img")) == 100
    broken = "return [...document.images].filter(image => !image.complete || !image.naturalWidth).length"
    assert browser.execute_script(broken) == 0


@pytest.mark.parametrize("page", ["images", "world", "curated"])
def test_a_phone_does_not_scroll_sideways(opened, page):
    browser = opened(page)
    phone = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        browser.execute_script("document.querySelector('details').open = true")
        widths = "return [innerWidth, document.documentElement.scrollWidth, document.body.scrollWidth]"
        assert browser.execute_script(widths) == [360, 360, 360]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_dark(opened):
    browser, backs = opened("curated"), []
    for scheme in ("light", "dark"):
        feature = {"name": "prefers-color-scheme", "value": scheme}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        for place in ("body", "section", "#histogram .part", ".head button"):
            style = "const style = getComputedStyle(document.querySelector(arguments[0])); "
            backs.append(browser.execute_script(f"{style} return style.backgroundColor + style.fill", place))
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(set(backs)) == 6  # a button has the colours of its section


def test_the_rows_of_a_gallery_are_downloaded(opened, tmp_path):
    """As a table that the other programs read, whatever the names are."""
    browser, page = opened("curated"), curated_page()
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    suspects = page.suspects
    rows = {"least": page.order[:20], "odd": suspects.odd[:20], "doubtful": [2, 40], "copies": [201, 200, 300]}
    fill(browser, "words", "onmouseover")
    for name, button in [
        *((name, f"section.{name} .download") for name in rows),
        ("samples", "#download"),
    ]:
        browser.execute_script("arguments[0].click()", browser.find_element(By.CSS_SELECTOR, button))
        WebDriverWait(browser, 10).until(lambda _, name=name: (tmp_path / f"{name}.csv").is_file())
        table = Scores(tmp_path / f"{name}.csv")
        wanted = rows.get(name, [2])
        assert table.ids.tolist() == [page.ids[row] for row in wanted]
        assert table.numbers("score") == pytest.approx(page.score[wanted], abs=10**-page.digits)
        assert table.numbers("class_percentile") == pytest.approx(suspects.class_percentile[wanted], abs=0.051)
    assert Scores(tmp_path / "copies.csv").texts("duplicate_of").tolist() == [page.ids[row] for row in (0, 3, 299)]


def test_a_picture_leads_to_its_file(opened, files):
    browser, page = opened("curated"), curated_page()
    folder = Path(url2pathname(urlsplit(files["curated"]).path)).parent / "photos"
    for row in (0, 3, 201):  # two names that are hostile
        file = folder / page.ids[row]
        file.parent.mkdir(parents=True, exist_ok=True)
        picture(row).save(file, "PNG")
        for place in ("section.copies", "#table"):
            opened("curated")
            if place == "#table":
                fill(browser, "words", page.ids[row][4:])
            link = browser.find_element(By.CSS_SELECTOR, f'{place} a:has(img[src="{source_of(browser, row)}"])')
            browser.execute_script("arguments[0].click()", link)
            WebDriverWait(browser, 10).until(lambda browser: "/photos/" in browser.current_url)
            assert unquote(urlsplit(browser.current_url).path) == str(file)
            assert browser.execute_script("return document.images[0].naturalWidth") == 160


def source_of(browser, row):
    """Return the address of the small picture of a row."""
    return browser.execute_script("return pictures[arguments[0]]", row)


def test_many_rows(opened):
    started = time.perf_counter()
    browser = opened("large")
    assert shown(browser) == f"1 to 100 of {MAX_ROWS:,}"
    assert time.perf_counter() - started < 20
    click = "const start = performance.now(); arguments[0].click(); return performance.now() - start"
    for name in ("id", "score", "percentile"):
        assert browser.execute_script(click, header(browser, name).find_element(By.TAG_NAME, "button")) < 5000


@pytest.mark.parametrize("page", ["curated", "world"])
def test_nothing_is_fetched(opened, page, files):
    browser = opened(page)
    browser.get_log("performance")
    browser.refresh()
    header(browser, "score").click()
    sent = "Network.requestWillBeSent"
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {message["params"]["request"]["url"] for message in messages if message["method"] == sent}
    assert {address for address in asked if not address.startswith("data:")} == {files[page]}
    entries = 'return performance.getEntriesByType("resource").map(entry => entry.name)'
    assert all(name.startswith("data:") for name in browser.execute_script(entries))


def test_nothing_could_be_fetched(chromium, files):
    chromium.get(files["images"])
    directive = chromium.execute_async_script("""
        const done = arguments[0];
        addEventListener("securitypolicyviolation", event => done(event.effectiveDirective));
        document.body.append(Object.assign(document.createElement("img"), {src: "https://example.invalid/x.png"}));
        setTimeout(() => done("nothing"), 2000);
    """)
    assert directive == "img-src"
