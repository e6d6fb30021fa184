"""A headless Chromium for the tests of the pages, and for the screenshots of the documentation."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium import webdriver

# Its own background services would look up hosts of the network, which a page must not need.
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
)


def paths() -> tuple[str, str] | None:
    """The browser and its driver on this machine, or None."""
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def required() -> bool:
    """Whether a missing browser is a failure (in CI) and not a reason to skip."""
    return os.environ.get("NCBENCH_BROWSER") == "required"


@contextmanager
def chromium(profile: str | Path, size: tuple[int, int] = (1200, 1600)) -> Iterator[webdriver.Chrome]:
    """A driver of headless Chromium with an empty profile, logging its console and its network."""
    programs = paths()
    if programs is None:
        raise FileNotFoundError("chromium and chromedriver are needed (Debian's packages chromium, chromium-driver)")
    browser, driver = programs
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    running = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield running
    finally:
        running.quit()


def requests(driver: webdriver.Chrome) -> list[str]:
    """Addresses that the page asked for since the last call, other than files and data inside the page."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [address for address in asked if not address.startswith(("data:", "file:"))]


def complaints(driver: webdriver.Chrome) -> list[str]:
    """What the browser's console holds: errors and warnings of the page, refused scripts among them."""
    return [entry["message"] for entry in driver.get_log("browser")]
