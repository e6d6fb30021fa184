"""The screenshots of the documentation, in headless Chromium (Debian's chromium and chromium-driver, selenium).

python scripts/screenshots.py RUN      that run's page at three widths and index.png of docs/results, in docs/images
"""

import sys
import tempfile
from pathlib import Path

from browser import chromium

ROOT = Path(__file__).resolve().parent.parent
# Name of the picture: width and height of the screen.
SCREENS = {"report": (1400, 1500), "report_800": (800, 1200), "report_400": (400, 3200), "index": (1120, 1500)}


def main() -> int:
    """Takes the pictures."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    report, index = Path(sys.argv[1]).resolve() / "report.html", ROOT / "docs" / "results" / "index.html"
    target = ROOT / "docs" / "images"
    target.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as driver:
        for name, (width, height) in SCREENS.items():
            size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            driver.get((index if name == "index" else report).as_uri())
            driver.save_screenshot(str(target / f"{name}.png"))
            print(target / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
