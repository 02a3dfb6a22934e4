"""The report page, as Chromium shows it where there is one."""

import json
import math
import re
import shutil
import subprocess
import urllib.request

import cv2
import numpy as np
import pytest

from utils.results import pick_examples, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(
    not (CHROMIUM and shutil.which("chromedriver")), reason="needs Debian's chromium and chromium-driver"
)
OPTIONS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-dev-shm-usage --disable-sync"
ENTER, RIGHT = "\ue007", "\ue014"  # WebDriver's codes of these keys


def make_rows(number):
    random, rows = np.random.default_rng(0), []
    for i in range(number):
        before, gain = random.normal(16, 3), random.normal(6, 4)
        row = {"name": f"{i}.png", "domain": ("indoor", "outdoor")[i % 2], "psnr": before + gain, "ssim": 0.9}
        rows.append({**row, "input_psnr": before, "input_ssim": 0.95 if i < 2 else 0.7})
    return rows


def make_report(folder, rows, size=(24, 32)):
    random = np.random.default_rng(1)
    scores = {"psnr": 22.0, "ssim": 0.9, "num_images": len(rows), "input": {"psnr": 16.0, "ssim": 0.7}}
    metrics = {**scores, "domains": {"indoor": scores, "outdoor": scores}, "protocol": "psnr rgb float"}
    metrics |= {"checkpoint": {"path": "best.pt", "sha256": "0" * 64, "step": 500}, "notes": ["A note."]}
    metrics |= {"settings": {"run": "demo", "model": {"size": "n"}}, "environment": {"torch": "2.11.0"}}
    metrics |= {"outputs": None, "parameters": 3_200_000, "multiply_adds": 29.2e9, "images_per_second": 3.0}
    names = [row["name"] for row in pick_examples(rows).values()]
    pictures = {name: random.integers(0, 256, (3, *size, 3), dtype=np.uint8) for name in names}
    write_report(folder, metrics, rows, pictures)
    return folder / "report.html"


class Browser:
    """A headless Chromium, driven through chromedriver's W3C WebDriver interface."""

    def __init__(self, folder):
        options = {"binary": CHROMIUM, "args": [*OPTIONS.split(), f"--user-data-dir={folder}"]}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.process = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        port = next(re.search(r"on port (\d+)\.", line)[1] for line in self.process.stdout if "success" in line)
        self.url = f"http://127.0.0.1:{port}/session"
        self.url += "/" + self.send("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def send(self, path, body=None, method="POST"):
        request = urllib.request.Request(self.url + path, json.dumps(body or {}).encode(), method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def run(self, text):
        return self.send("/execute/sync", {"script": text, "args": []})

    def press(self, selector, keys):
        found = self.send("/element", {"using": "css selector", "value": selector})
        self.send(f"/element/{next(iter(found.values()))}/value", {"text": keys})

    def column(self, index):
        cells = f"document.querySelectorAll('#images tbody td:nth-child({index + 1})')"
        return self.run(f"return [...{cells}].filter(cell => cell.offsetHeight).map(cell => cell.innerText)")

    def errors(self):
        return [entry for entry in self.send("/se/log", {"type": "browser"}) if entry["level"] != "INFO"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.send("", method="DELETE")
    browser.process.terminate()
    browser.process.wait()


@needs_chromium
def test_the_table_sorts_by_number_filters_and_shows_names_that_are_markup_as_text(tmp_path, browser):
    rows = make_rows(12)
    rows[3]["psnr"] = math.inf
    rows[4]["name"] = markup = "<script>alert(1)</script>{{data}}{{script}}</table>&amp; ü.png"
    rows[4]["domain"] = '"><img src=x onerror=alert(2)>'
    browser.send("/url", {"url": make_report(tmp_path, rows).as_uri()})
    by_gain = sorted(rows, key=lambda row: row["psnr"] - row["input_psnr"])
    assert browser.column(0) == [row["name"] for row in by_gain]  # failures first
    browser.run("document.querySelectorAll('#images th button')[3].click()")
    by_psnr = [row["name"] for row in sorted(rows, key=lambda row: row["psnr"])]
    assert browser.column(0) == by_psnr and browser.column(3)[-1] == "∞"
    browser.press("#images th:nth-child(4) button", ENTER)
    assert browser.column(0) == by_psnr[::-1]
    browser.run("document.querySelectorAll('#images th button')[0].click()")
    assert browser.column(0)[-3:] == ["9.png", "10.png", "11.png"]
    browser.press("#filter", "ALERT(1)")
    assert browser.column(0) == [markup] and browser.column(1) == [rows[4]["domain"]] and browser.errors() == []


@needs_chromium
def test_sliders_compare_two_pictures_and_a_row_opens_those_that_were_written(tmp_path, browser):
    rows = make_rows(5)
    (tmp_path / "a%b").mkdir()
    rows[0]["files"] = [f"a%b/{side} #1.png" for side in ("hazy", "dehazed", "clear")]
    for file in rows[0]["files"]:
        cv2.imwrite(str(tmp_path / file), np.zeros((6, 8, 3), np.uint8))
    browser.send("/url", {"url": make_report(tmp_path, rows).as_uri()})
    style = "return getComputedStyle(document.querySelector('.frame .{}')).{}"
    assert "50%" in browser.run(style.format("hazy", "clipPath"))
    browser.press(".frame input", RIGHT * 4)
    assert "48%" in browser.run(style.format("hazy", "clipPath"))  # the inset from the right
    assert browser.run(style.format("clear", "visibility")) == "hidden"
    browser.run("document.querySelectorAll('.pairs input')[2].click()")
    assert browser.run(style.format("clear", "visibility")) == "visible"
    assert browser.run("return [...document.images].map(image => image.naturalWidth)") == [32] * 9
    assert browser.run("return document.querySelectorAll('#images td button').length") == 1
    browser.press("#images td button", ENTER)
    browser.run("return Promise.all([...document.querySelectorAll('dialog img')].map(image => image.decode()))")
    assert browser.run("return [...document.querySelectorAll('dialog img')].map(i => i.naturalWidth)") == [8] * 3
    worse = sum(row["psnr"] < row["input_psnr"] for row in rows)
    assert browser.run("return document.querySelector('.tile:nth-child(4) b').innerText") == f"{worse} / 2"
    assert browser.errors() == []


def test_examples_are_the_worst_the_median_and_the_best_gain():
    rows = [{"name": f"{gain}.png", "psnr": 10 + gain, "input_psnr": 10.0} for gain in (3, -2, 5, 1, math.inf)]
    rows.append({"name": "same.png", "psnr": math.inf, "input_psnr": math.inf})  # a gain of 0
    rows.append({"name": "lost.png", "psnr": 30.0, "input_psnr": math.inf})
    examples = {label: row["name"] for label, row in pick_examples(rows).items()}
    assert examples == {"worst": "lost.png", "median": "1.png", "best": "inf.png"}


@pytest.mark.parametrize("number, labels", [(0, []), (1, ["median"]), (2, ["worst", "best"])])
def test_few_images_give_fewer_examples_and_a_page(tmp_path, number, labels):
    rows = make_rows(number)
    assert list(pick_examples(rows)) == labels
    page = make_report(tmp_path, rows).read_text(encoding="utf-8")
    assert page.count('"label":') == number and page.count('.png"') == number


def test_a_page_of_1000_images_and_three_large_noisy_pictures_is_under_5_mb_and_needs_no_network(tmp_path):
    page = make_report(tmp_path, make_rows(1000), size=(1600, 1200))
    text = page.read_text(encoding="utf-8")
    assert page.stat().st_size < 5_000_000
    assert not re.search(r"https?://|\b(?:src|href)=\"(?!data:)", text) and "default-src 'none'" in text
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "examples"}
