"""The report page, as Chromium shows it where there is one."""

import json
import math
import re
import shutil
import subprocess
from html import unescape

import cv2
import numpy as np
import pytest

from utils.results import pick_examples, write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(not CHROMIUM, reason="needs Debian's chromium")
OPTIONS = "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --dump-dom --virtual-time-budget=60000"
ERRORS = "const errors = [], note = event => errors.push(event.message || event.blockedURI);"
ERRORS += "addEventListener('error', note); addEventListener('securitypolicyviolation', note)"


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


def look(page, script):
    """What an asynchronous script returns that runs in the page, as Chromium draws it. The page must have no errors."""
    text = page.read_text(encoding="utf-8").replace("<head>", f"<head><script>{ERRORS}</script>")
    script = (
        f"(async () => {{ {script} }})().then(found => document.body.textContent = JSON.stringify([errors, found]))"
    )
    probe = page.with_name("probe.html")
    probe.write_text(text.replace("</body>", f"<script>{script}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, *OPTIONS.split(), f"--user-data-dir={page.parent / 'profile'}", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    errors, found = json.loads(unescape(re.search("<body>(.*)</body>", done.stdout, re.DOTALL)[1]))
    assert errors == []
    return found


@needs_chromium
def test_the_table_sorts_by_number_filters_and_shows_names_that_are_markup_as_text(tmp_path):
    rows = make_rows(12)
    rows[3]["psnr"] = math.inf
    rows[4]["name"] = markup = "<script>alert(1)</script>{{data}}{{script}}</table>&amp; ü.png"
    rows[4]["domain"] = '"><img src=x onerror=alert(2)>'
    script = """
        const column = i => [...document.querySelectorAll(`#images tbody td:nth-child(${i + 1})`)]
          .filter(cell => cell.offsetHeight).map(cell => cell.innerText);
        const sort = i => document.querySelectorAll("#images th button")[i].click();
        const found = [column(0)];
        for (const i of [3, 3, 0]) { sort(i); found.push(column(0)); }
        find("#filter").value = "ALERT(1)";
        find("#filter").dispatchEvent(new Event("input"));
        return [...found, column(0), column(1)];
    """
    by_gain, by_psnr, falling, by_name, filtered, domain = look(make_report(tmp_path, rows), script)
    assert by_gain == [row["name"] for row in sorted(rows, key=lambda row: row["psnr"] - row["input_psnr"])]
    assert by_psnr == [row["name"] for row in sorted(rows, key=lambda row: row["psnr"])] == falling[::-1]
    assert by_name[-3:] == ["9.png", "10.png", "11.png"]
    assert filtered == [markup] and domain == [rows[4]["domain"]]


@needs_chromium
def test_sliders_compare_two_pictures_and_a_row_opens_those_that_were_written(tmp_path):
    rows = make_rows(5)
    (tmp_path / "a%b").mkdir()
    rows[0]["files"] = [f"a%b/{side} #1.png" for side in ("hazy", "dehazed", "clear")]
    for file in rows[0]["files"]:
        cv2.imwrite(str(tmp_path / file), np.zeros((6, 8, 3), np.uint8))
    script = """
        const style = name => getComputedStyle(find(".frame ." + name));
        const range = find(".frame input");
        range.value = 30;
        range.dispatchEvent(new Event("input", {bubbles: true}));
        const hazy = [style("hazy").clipPath, style("clear").visibility];
        document.querySelectorAll(".pairs input")[2].click();
        const widths = async where => {
          const shown = [...document.querySelectorAll(where + " img")];
          await Promise.all(shown.map(image => image.complete || new Promise(done => image.onload = done)));
          return shown.map(image => image.naturalWidth);
        };
        const examples = await widths(".examples");
        find("#images td button").click();
        const worse = find(".tile:nth-child(4) b").innerText;
        return [hazy, style("clear").visibility, examples, await widths("dialog"), worse];
    """
    hazy, clear, examples, opened, worse = look(make_report(tmp_path, rows), script)
    assert "70%" in hazy[0] and hazy[1] == "hidden" and clear == "visible"  # the inset from the right
    assert examples == [32] * 9 and opened == [8] * 3
    assert worse == f"{sum(row['psnr'] < row['input_psnr'] for row in rows)} / 2"


def test_examples_are_the_worst_the_median_and_the_best_gain():
    rows = [{"name": f"{gain}.png", "psnr": 10 + gain, "input_psnr": 10.0} for gain in (3, -2, 5, 1, math.inf)]
    examples = {label: row["name"] for label, row in pick_examples(rows).items()}
    assert examples == {"worst": "-2.png", "median": "3.png", "best": "inf.png"}
    assert set(pick_examples(rows[:1])) == {"worst", "median", "best"}


def test_a_page_of_1000_images_needs_no_other_file_and_no_network(tmp_path):
    page = make_report(tmp_path, make_rows(1000), size=(1600, 1200))
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"https?://|\b(?:src|href)=\"(?!data:)", text) and "default-src 'none'" in text
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "examples"}
