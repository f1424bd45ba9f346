"""A real browser for pages: what it shows on a phone and on a desk, by day and by night, and what it asks the net for.

SYNDE_SCREENSHOTS names a folder that keeps the screenshots.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; the test is skipped where there is none."""
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on PATH: install it to see pages as a person does")
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def look(browser: Any, file: Path, shots: Path) -> list[dict[str, Any]]:
    """Open a page of one file at every width and scheme, with all its details unfolded; says what was seen each time.

    Keys: width, scheme, overflow (pixels that the page is too wide), requests (urls), problems (said in the console),
    ground (colour of the background), images (how many there are), text (all of it).
    """
    shots = Path(os.environ.get("SYNDE_SCREENSHOTS", shots))
    shots.mkdir(parents=True, exist_ok=True)
    found = []
    for width in WIDTHS:
        for scheme in SCHEMES:
            page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page.set_default_timeout(120_000)
            requests: list[str] = []
            problems: list[str] = []
            page.on("request", lambda request, to=requests: to.append(request.url))
            page.on("console", lambda message, to=problems: to.append(message.text))
            page.goto(file.resolve().as_uri())
            page.screenshot(path=shots / f"{file.stem}-{width}-{scheme}.png", full_page=True)
            page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
            page.screenshot(path=shots / f"{file.stem}-{width}-{scheme}-open.png", full_page=True)
            root = "document.documentElement"
            seen = {
                "overflow": page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"),
                "ground": page.evaluate("getComputedStyle(document.body).backgroundColor"),
                "images": page.evaluate("document.images.length"),
                "text": page.evaluate("document.body.innerText"),
            }
            found.append({"width": width, "scheme": scheme, "requests": requests, "problems": problems, **seen})
            page.close()
    return found
