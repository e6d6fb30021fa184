"""The screenshots of the documentation, in headless Chromium (Debian's chromium and chromium-driver, selenium).

python scripts/screenshots.py RUN      report.png of that run's page and index.png of docs/results, in docs/images
"""

import sys
import tempfile
from pathlib import Path

from browser import chromium

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Takes both pictures."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    pages = {"report": Path(sys.argv[1]).resolve() / "report.html", "index": ROOT / "docs" / "results" / "index.html"}
    target = ROOT / "docs" / "images"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, chromium(profile, size=(1120, 1500)) as driver:
        for name, page in pages.items():
            driver.get(page.as_uri())
            driver.save_screenshot(str(target / f"{name}.png"))
            print(target / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
