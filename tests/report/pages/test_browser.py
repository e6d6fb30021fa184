"""The pages in a real browser: nothing loaded, nothing complained about, what matters visible, the slider moving."""

import browser
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from ncbench.report.__main__ import main
from tests.helpers.own_paper import PAPER, claims
from tests.helpers.run_folders import write_run

pytestmark = [
    pytest.mark.skipif(not browser.paths() and not browser.required(), reason="no chromium and chromedriver here"),
    # Selenium leaves its connection pool to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
EVIL = "<img src=http://example.org/x.png onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("pages")
    write_run(base / "run", list(range(8)), name="dufm_k4", claims=claims())
    write_run(
        base / "evil",
        [0, 1],
        name="evil",
        claims={"loss_falls": {**claims()["loss_falls"], "statement": EVIL}},
        swept={"note": EVIL},
    )
    assert main([str(base / "run")]) == 0
    assert main([str(base / "evil")]) == 0
    assert main([str(base), "--index"]) == 0
    return base


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


def opened(driver, path):
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get(path.as_uri())
    return driver


@pytest.mark.parametrize("page", ["run/report.html", "evil/report.html", "index.html"])
def test_loads_nothing_and_the_console_is_empty(driver, folder, page):
    opened(driver, folder / page)
    assert browser.requests(driver) == []
    assert browser.complaints(driver) == []


def test_verdicts_and_figures_are_visible(driver, folder):
    opened(driver, folder / "run" / "report.html")
    badges = [b for b in driver.find_elements(By.CSS_SELECTOR, ".verdicts .badge") if b.is_displayed()]
    assert [b.text for b in badges] == ["✓ reproduced", "✗ not reproduced at the paper's settings"]
    drawn = driver.find_elements(By.CSS_SELECTOR, "figure svg[role=img]")
    shown = [svg for svg in drawn if svg.is_displayed()]
    assert len(shown) == 9  # eight figures and one frame of the sequence
    assert all(svg.size["width"] > 200 and svg.size["height"] > 100 for svg in shown)


def test_the_slider_moves(driver, folder):
    opened(driver, folder / "run" / "report.html")
    slider = driver.find_element(By.CSS_SELECTOR, "[data-frames] input")
    frames = driver.find_elements(By.CSS_SELECTOR, "[data-frames] [data-step]")
    label = driver.find_element(By.CSS_SELECTOR, "[data-frames] output")

    def visible():
        return [frame.get_attribute("data-step") for frame in frames if frame.is_displayed()]

    assert visible() == [label.text] == ["1000"]
    slider.send_keys(Keys.HOME)
    assert visible() == [label.text] == ["0"]
    slider.send_keys(Keys.ARROW_RIGHT)
    assert visible() == [label.text]
    assert label.text not in ("0",)


def test_what_came_from_data_is_text(driver, folder):
    opened(driver, folder / "evil" / "report.html")
    assert EVIL in driver.find_element(By.CSS_SELECTOR, ".verdicts tbody th").text
    assert driver.find_elements(By.TAG_NAME, "img") == []
    opened(driver, folder / "index.html")
    assert driver.find_elements(By.TAG_NAME, "img") == []


def test_a_script_that_escaping_let_through_would_not_run(driver, folder, tmp_path):
    page = (folder / "run" / "report.html").read_text()
    planted = page.replace("</body>", "<script>document.title = 'taken over'</script></body>")
    (tmp_path / "planted.html").write_text(planted)
    opened(driver, tmp_path / "planted.html")
    assert driver.title == "dufm_k4"
    assert any("Content Security Policy" in message for message in browser.complaints(driver))


def test_the_index_has_every_figure(driver, folder):
    from ncbench.claims.papers import package_papers

    opened(driver, folder / "index.html")
    cells = driver.find_elements(By.CSS_SELECTOR, ".matrix td")
    assert len(cells) == sum(len(paper.figures) for paper in package_papers().values()) + len(PAPER["figures"])
    marks = [cell.text.splitlines()[-1] for cell in cells]
    assert [mark for mark in marks if mark[0] not in "·="] == ["✗ 2/2", "✗ 1/1"]  # of the paper that the runs carry
    assert marks.count("· 0/1") >= 1
    link = driver.find_element(By.LINK_TEXT, "dufm_k4")
    link.click()
    assert driver.title == "dufm_k4"


def test_a_figure_opens_large_on_a_click_and_closes_on_the_next(driver, folder):
    opened(driver, folder / "run" / "report.html")
    zoom = driver.find_element(By.CSS_SELECTOR, "#collapse-section .zoom")
    picture = zoom.find_element(By.CSS_SELECTOR, ".picture")
    drawn = picture.find_element(By.CSS_SELECTOR, "svg[role=img]")
    before = drawn.size["width"]
    drawn.click()
    assert picture.value_of_css_property("position") == "fixed"
    assert drawn.size["width"] > before
    zoom.find_element(By.TAG_NAME, "input").send_keys(Keys.SPACE)  # or with the keyboard
    assert picture.value_of_css_property("position") != "fixed"
    assert drawn.size["width"] == before


def test_on_a_narrow_screen_panels_stand_below_one_another_and_nothing_is_wider(driver, folder):
    size = {"height": 900, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 400, **size})
    try:
        opened(driver, folder / "run" / "report.html")
        assert driver.execute_script("return document.documentElement.scrollWidth") == 400
        parts = driver.find_elements(By.CSS_SELECTOR, "#collapse-section .strip")
        boxes = [part.rect for part in parts if part.is_displayed()]
        assert len(boxes) >= 3
        assert all(box["width"] <= 400 for box in boxes)
        tops = [box["y"] for box in boxes]
        assert tops == sorted(tops)
        assert sum(box["height"] > 150 for box in boxes) == 3  # the panels
        whole = driver.find_element(By.CSS_SELECTOR, "#collapse-section .whole")
        assert (whole.size["width"], whole.size["height"]) == (0, 0)
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_every_link_inside_the_page_leads_somewhere(driver, folder):
    opened(driver, folder / "run" / "report.html")
    links = driver.find_elements(By.CSS_SELECTOR, "a[href^='#']")
    targets = {link.get_attribute("href").partition("#")[2] for link in links}
    assert {"claims", "final-values", "glossary", "word-dnc"} <= targets
    ids = {element.get_attribute("id") for element in driver.find_elements(By.CSS_SELECTOR, "[id]:not(svg *)")}
    assert targets <= ids
