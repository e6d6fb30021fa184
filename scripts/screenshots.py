"""The screenshots of the documentation, in headless Chromium (Debian's chromium and chromium-driver, selenium).

python scripts/screenshots.py RUN                  that run's page and index.png of docs/results, in docs/images
python scripts/screenshots.py NAME=RUN#SECTION ... of pages, from a section on (`#` alone: from the top), NAME_1400.png,
                                                   NAME_800.png and NAME_400.png in docs/screens
"""

import io
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from browser import chromium
from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs"
# Name of the picture: width and height of the screen.
SCREENS = {"report": (1400, 1500), "report_800": (800, 1200), "report_400": (400, 3200), "index": (1120, 1500)}
WIDTHS = {1400: 1150, 800: 1400, 400: 2000}  # of a page from a section on, with the height
COLOURS = 256  # with fewer thin lines lose theirs


def main() -> int:
    """Takes the pictures."""
    if len(sys.argv) < 2 or (len(sys.argv) > 2 and not all("=" in word and "#" in word for word in sys.argv[1:])):
        print(__doc__, file=sys.stderr)
        return 2
    pages = sys.argv[1:]
    wanted = list(of_pages(pages)) if "=" in pages[0] else list(of_run(Path(pages[0])))
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as driver:
        for target, address, width, height in wanted:
            target.parent.mkdir(exist_ok=True)
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            page, _, section = address.partition("#")
            driver.get(page)
            if section:  # without the mark that a link to it would leave
                driver.execute_script("document.getElementById(arguments[0]).scrollIntoView()", section)
            picture = Image.open(io.BytesIO(driver.get_screenshot_as_png())).convert("RGB")
            if target.parent.name == "screens":
                picture = picture.quantize(COLOURS, dither=Image.Dither.NONE)
            picture.save(target, optimize=True)
            print(target)
    return 0


def of_run(run: Path) -> Iterator[tuple[Path, str, int, int]]:
    """File, address, width and height of the pictures in docs/images."""
    report, index = run.resolve() / "report.html", DOCS / "results" / "index.html"
    for name, size in SCREENS.items():
        yield DOCS / "images" / f"{name}.png", (index if name == "index" else report).as_uri(), *size


def of_pages(pages: list[str]) -> Iterator[tuple[Path, str, int, int]]:
    """The same of NAME=RUN#SECTION."""
    for page in pages:
        name, _, place = page.partition("=")
        run, _, section = place.rpartition("#")
        for width, height in WIDTHS.items():
            address = f"{(Path(run).resolve() / 'report.html').as_uri()}#{section}"
            yield DOCS / "screens" / f"{name}_{width}.png", address, width, height


if __name__ == "__main__":
    sys.exit(main())
