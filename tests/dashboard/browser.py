"""Debian's chromium without a window, driven by selenium, and the sites that it looks at."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.support import eventually

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
# A page that the server was slow to make is asked for again after 30 s, and may show then what was read 30 s before.
PATIENCE_SECONDS = 75
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


def is_there() -> bool:
    """Whether there is a browser to test in. In CI there has to be."""
    return bool(os.environ.get("CI")) or (CHROMIUM is not None and DRIVER is not None)


class Browser:
    """One window.

    Args:
        base: the dashboard that paths are within; may be changed.
    """

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.base = ""

    def open(self, path: str) -> None:
        """Go to a page of the dashboard."""
        self.driver.get(f"{self.base}{path}")

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str = "body") -> str:
        return str(self.driver.execute_script("return document.querySelector(arguments[0])?.innerText || ''", selector))

    def press(self, keys: str) -> None:
        """Type at whatever has the focus."""
        ActionChains(self.driver).send_keys(keys).perform()

    def click(self, selector: str) -> None:
        self.one(selector).click()

    def click_button(self, label: str) -> None:
        """The first button with that label."""
        found = self.driver.find_elements(By.XPATH, f"//main//button[normalize-space()='{label}']")
        assert found, f"no button {label!r} among {[button.text for button in self.all('main button')]}"
        found[0].click()

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def waits_for(self, text: str, selector: str = "main") -> None:
        """Wait until the page says so."""
        self.waits_until(lambda: text in self.text(selector), f"the page does not say {text!r}")

    def waits_until(self, condition: Callable[[], object], message: str = "") -> None:
        """Wait until the condition holds; a failure shows the page."""
        try:
            eventually(condition, seconds=PATIENCE_SECONDS, message=message)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.text()[:1000]}") from None

    def complaints(self) -> list[str]:
        """What is in the console since the last time."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def dark(self, on: bool = True) -> None:
        features = [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def width(self, pixels: int) -> None:
        shape = {"width": pixels, "height": 844, "deviceScaleFactor": 1, "mobile": pixels < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)

    def violations(self, *rules: str) -> list[str]:
        """What axe, the checker of accessibility, has against the page: by some of its rules, or by all."""
        if self.run("return typeof axe") == "undefined":
            self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": AXE})
        found = self.driver.execute_async_script(
            "const done = arguments[arguments.length - 1];"
            "const rules = arguments[0].length ? {runOnly: arguments[0]} : {};"
            "axe.run(document, {resultTypes: ['violations'], ...rules}).then((found) => done(found.violations.map("
            "  (one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 200)).join(' | ')}`)));",
            list(rules),
        )
        return [str(one) for one in found]


@contextmanager
def opened() -> Iterator[Browser]:
    """A browser, closed in the end."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM or "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER or "/usr/bin/chromedriver"))
    driver.set_script_timeout(30)
    try:
        browser = Browser(driver)
        browser.width(1280)
        yield browser
    finally:
        driver.quit()


def addresses(line: str) -> dict[str, str]:
    """Where the sites are, as `sites` writes it."""
    found: dict[str, str] = json.loads(line)
    return found
