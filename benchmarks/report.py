"""How large is a report of 1,000 images, and how long does Chromium take to open it?

    python -m benchmarks.report             needs Debian's packages chromium and chromium-driver
"""

import tempfile
from pathlib import Path
from statistics import median

from tests.test_report import Browser, make_report, make_rows

LOADED = "const t = performance.getEntriesByType('navigation')[0]; return t.loadEventEnd - t.startTime"
SORTED = """
const start = performance.now();
document.querySelector('#images th:nth-child(4) button').click();
document.body.offsetHeight;
return performance.now() - start
"""


def main(num_images=1000, repeats=5):
    with tempfile.TemporaryDirectory() as folder:
        page = make_report(Path(folder), make_rows(num_images), size=(1200, 1600))
        browser = Browser(Path(folder) / "profile")
        loads, sorts = [], []
        try:
            for _ in range(repeats):
                browser.send("/url", {"url": page.as_uri()})
                loads.append(browser.script(LOADED))
                sorts.append(browser.script(SORTED))
        finally:
            browser.quit()
        print(f"{num_images:,} images, noise of 1600 x 1200 in the sliders: {page.stat().st_size / 1e6:.2f} MB")
        print(f"opened in {median(loads):.0f} ms (at most {max(loads):.0f}), n={repeats}")
        print(f"sorted in {median(sorts):.0f} ms (at most {max(sorts):.0f})")


if __name__ == "__main__":
    main()
