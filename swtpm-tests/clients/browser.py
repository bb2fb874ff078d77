"""Opens pages in headless Chromium, looks at them as a reader would, and says what it found.

browser.py FOLDER PAGE...: for each page one object on standard output, as a JSON list. Screenshots go to FOLDER. Chromium is
driven through chromedriver (W3C WebDriver), with nothing but Python's own library. Accessibility is judged by axe-core.
"""

import base64
import json
import os
import pathlib
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

# A page of one file opens at once; axe-core takes seconds on a slow machine.
DEADLINE_S = 120

# chromedriver listens in well under a second; a machine that is busy takes longer.
START_DEADLINE_S = 60

# What chromedriver says before it listens is a few lines.
START_BYTES_MAX = 64 * 1024

# WCAG 2.0, 2.1 and 2.2, levels A and AA, and the practices that axe-core counts as best.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

# How a page is looked at: name, width, colours, medium.
LOOKS = [
    ("light", 1280, "light", "screen"),
    ("dark", 1280, "dark", "screen"),
    ("narrow", 390, "light", "screen"),
    ("print", 794, "light", "print"),
]

AXE = """
const done = arguments[arguments.length - 1];
axe.run(document, {runOnly: {type: 'tag', values: arguments[0]}, preload: false})
  .then(found => done({violations: found.violations.map(one => ({
      rule: one.id, help: one.help, nodes: one.nodes.map(node => node.html.slice(0, 200) + ' ' + node.failureSummary)})),
    passes: found.passes.length, contrast: found.passes.some(one => one.id === 'color-contrast')}))
  .catch(error => done({error: String(error)}));
"""


class Driver:
    """One chromedriver with one browser."""

    def __init__(self, home):
        # A group of its own: whatever chromedriver starts ends with it.
        self.process = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True
        )
        self.session = None
        try:
            self.base = f"http://127.0.0.1:{self.port()}"
            self.open(home)
        except BaseException:
            self.close()
            raise

    def port(self):
        """The port that chromedriver says it has."""
        end = time.monotonic() + START_DEADLINE_S
        said = b""
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            while len(said) < START_BYTES_MAX and ready.select(max(0, end - time.monotonic())):
                piece = os.read(self.process.stdout.fileno(), 4096)
                if not piece:
                    break
                said += piece
                found = re.search(rb"started successfully on port (\d+)\D", said)
                if found:
                    return int(found.group(1))
        raise SystemExit(f"expected chromedriver to say its port within {START_DEADLINE_S} s, found {said[:500]!r}")

    def open(self, home):
        # As root there is no sandbox; the pages are our own.
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                     "--disable-background-networking", "--disable-component-update", f"--user-data-dir={home}", "about:blank"]
        options = {"args": arguments, "binary": "/usr/bin/chromium", "perfLoggingPrefs": {"enableNetwork": True}}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        self.session = "/session/" + self.call("/session", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        self.call(self.session + "/url", {"url": "about:blank"})

    def call(self, path, body=None, method="POST"):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            return json.load(answer)["value"]

    def cdp(self, command, **parameters):
        return self.call(self.session + "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def run(self, script, *arguments):
        return self.call(self.session + "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script, *arguments):
        return self.call(self.session + "/execute/async", {"script": script, "args": list(arguments)})

    def log(self, kind):
        return self.call(self.session + "/se/log", {"type": kind})

    def close(self):
        try:
            if self.session:
                self.call(self.session, method="DELETE")
        finally:
            # Also a browser that chromedriver left behind. Until it is waited for, its number is nobody else's.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(timeout=30)
            self.process.stdout.close()


def axe():
    """The source of axe-core."""
    import importlib.util

    found = importlib.util.find_spec("axe_playwright_python")
    return pathlib.Path(found.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def requests(driver):
    """What the browser asked for since the last call."""
    asked = []
    for entry in driver.log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    return asked


def screenshot(driver, path):
    size = driver.cdp("Page.getLayoutMetrics")["cssContentSize"]
    clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
    shot = driver.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    path.write_bytes(base64.b64decode(shot["data"]))


def look(driver, folder, page, source):
    """One page in every look."""
    said = {"page": page.name, "looks": [], "requests": [], "console": []}
    requests(driver), driver.log("browser")
    for name, width, colours, medium in LOOKS:
        driver.cdp("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        driver.cdp("Emulation.setEmulatedMedia", media=medium,
                   features=[{"name": "prefers-color-scheme", "value": colours}])
        driver.call(driver.session + "/url", {"url": page.as_uri()})
        shot = folder / f"{page.stem}-{name}.png"
        screenshot(driver, shot)
        # Before anything of the test's own runs in the page.
        said["requests"] += requests(driver)
        said["console"] += [entry["message"] for entry in driver.log("browser")]
        wide = driver.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth")
        driver.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
        driver.run(source)
        found = driver.wait(AXE, RULES)
        said["looks"].append({"look": name, "screenshot": str(shot), "wide": wide, "axe": found})
        # What axe-core does is not the page's.
        requests(driver), driver.log("browser")
    said["title"] = driver.run("return document.title")
    said["scripts"] = driver.run("return document.scripts.length")
    said["styled"] = driver.run("return getComputedStyle(document.querySelector('.banner')).borderTopStyle") == "solid"
    return said


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    source = axe()
    with tempfile.TemporaryDirectory() as home:
        driver = Driver(home)
        try:
            said = [look(driver, folder, pathlib.Path(page).resolve(), source) for page in sys.argv[2:]]
        finally:
            driver.close()
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
