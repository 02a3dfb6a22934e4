"""How time and memory of inference grow with pixels, batch and size: one figure, with the numbers beside it.

    python benchmarks/growth.py                         10 to 25 minutes on two CPU cores
    python benchmarks/growth.py --sides 64 128 256      a part of it
    python benchmarks/growth.py --precision fp32        on a CPU without bf16 instructions
    python benchmarks/growth.py --draw                  the figure again, from the numbers

Writes benchmarks/results/growth.json and growth.svg. Every point is a process of its own (speed.py); memory is what the
process holds at its peak over what it held before the network was built. Axes are logarithmic: what grows in
proportion is a straight line as steep as the grey one.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from utils.script import Parser, run  # noqa: E402

RESULTS = Path(__file__).parent / "results"
FORMS = {"plain fp32": "#b3541e", "form fp32": "#1f5f99", "form bf16": "#2f8f5b"}
LABELS = {"plain fp32": "plain network, fp32", "form fp32": "inference form, fp32", "form bf16": "inference form, bf16"}
SIZES = ("n", "t", "s", "b", "l")


def main(argv=None):
    parser = Parser(__doc__)
    parser.add_argument("--sides", type=int, nargs="+", default=[64, 128, 256, 512, 1024, 2048], help="pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="of 256 x 256")
    parser.add_argument("--precision", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--draw", action="store_true", help="only draw what was measured")
    args = parser.parse_args(argv)
    if not args.draw:
        how = ["--device", args.device, "--precision", *args.precision]
        measured = {
            "pixels": [measure(how, side**2, height=side, width=side) for side in args.sides],
            "batch": [measure(how, batch, height=256, width=256, batch=batch) for batch in args.batches],
            "size": [measure(how, size, height=256, width=256, size=size) for size in SIZES],
        }
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "growth.json").write_text(json.dumps(measured, indent=1) + "\n")
    measured = json.loads((RESULTS / "growth.json").read_text())
    (RESULTS / "growth.svg").write_text(figure(measured))
    print(f"{RESULTS / 'growth.svg'}")


def measure(how, at, **settings):
    """{"at", "machine", "forms": {name: [seconds, bytes]}}. how: options of speed.py."""
    options = [text for key, value in settings.items() for text in (f"--{key}", str(value))]
    rows = ["plain", "form"] if settings["height"] <= 1024 else ["form"]  # the plain network needs 14 GB at 2048
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, Path(__file__).with_name("speed.py"), "--no-limits", *how]
        command += ["--repetitions", "3", "--json", file.name, "--rows", *rows, *options]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        results = json.loads(Path(file.name).read_text())
    forms = {
        name: [statistics.median(row["seconds"]), row["memory"] - row["before"]]
        for name, row in results["rows"].items()
        if name in FORMS
    }
    print(at, {name: f"{seconds:.3f} s, {size / 1e6:.0f} MB" for name, (seconds, size) in forms.items()}, flush=True)
    return {"at": at, "machine": results["machine"], "forms": forms}


# ---- the figure: two rows (time, memory) of three panels ----

PANEL, GAP, LEFT, TOP = (250, 190), (70, 62), 64, 86
UNITS = {"time": (1.0, "seconds"), "memory": (1e6, "MB")}
TITLES = {
    "pixels": "pixels of the image (side)",
    "batch": "images of 256 x 256",
    "size": "size, by multiply-adds",
}
MULTIPLY_ADDS = {"n": 1.0, "t": 14.56, "s": 28.46, "b": 56.26, "l": 111.85}  # G at 256 x 256


def figure(measured):
    width = LEFT + 3 * PANEL[0] + 2 * GAP[0] + 20
    height = TOP + 2 * PANEL[1] + GAP[1] + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="14">Growth of inference, size s unless said otherwise</text>',
        f'<text x="{LEFT}" y="38" fill="#666">{measured["pixels"][0]["machine"]}; medians of 3</text>',
    ]
    shown = {name: colour for name, colour in FORMS.items() if name in measured["size"][0]["forms"]}
    for i, (name, colour) in enumerate(shown.items()):
        x = LEFT + 170 * i
        parts.append(f'<line x1="{x}" y1="54" x2="{x + 22}" y2="54" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 28}" y="58">{LABELS[name]}</text>')
    for row, quantity in enumerate(UNITS):
        for column, (key, points) in enumerate(measured.items()):
            x = LEFT + column * (PANEL[0] + GAP[0])
            y = TOP + row * (PANEL[1] + GAP[1])
            parts.append(f'<g transform="translate({x} {y})">{panel(quantity, key, points)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def panel(quantity, key, points):
    """One panel's SVG, its corner at the origin."""
    index = list(UNITS).index(quantity)
    unit, unit_name = UNITS[quantity]
    places = [MULTIPLY_ADDS[point["at"]] if key == "size" else point["at"] for point in points]
    ticks = [point["at"] if key != "pixels" else f"{math.isqrt(point['at'])}²" for point in points]
    values = [form[index] / unit for point in points for form in point["forms"].values()]
    low_x, high_x = math.log10(min(places)), math.log10(max(places))
    low_y, high_y = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    width, height = PANEL

    def at_x(value):
        return (math.log10(value) - low_x) / (high_x - low_x) * width

    def at_y(value):
        return height - (math.log10(value) - low_y) / (high_y - low_y) * height

    parts = [f'<rect width="{width}" height="{height}" fill="none" stroke="#999"/>']
    for exponent in range(low_y, high_y + 1):
        y = at_y(10.0**exponent)
        parts.append(f'<line x1="0" y1="{y:.1f}" x2="{width}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="-6" y="{y + 4:.1f}" text-anchor="end">{10.0**exponent:g}</text>')
    for place, tick in zip(places, ticks, strict=True):
        parts.append(f'<text x="{at_x(place):.1f}" y="{height + 15}" text-anchor="middle">{tick}</text>')
    parts.append(f'<text x="{width / 2}" y="{height + 31}" text-anchor="middle" fill="#444">{TITLES[key]}</text>')
    parts.append(f'<text x="4" y="-6" fill="#444">{unit_name}</text>')
    # in proportion: through the last point of the first form that has it
    last = next(form[index] / unit for form in points[-1]["forms"].values())
    start = max(places[0], places[-1] * 10.0**low_y / last)
    first = last * start / places[-1]
    parts.append(
        f'<line x1="{at_x(start):.1f}" y1="{at_y(first):.1f}" x2="{width}" y2="{at_y(last):.1f}" stroke="#bbb" '
        'stroke-dasharray="4 3"/>'
    )
    for name, colour in FORMS.items():
        dots = [
            (at_x(place), at_y(max(point["forms"][name][index] / unit, 10.0**low_y)))
            for place, point in zip(places, points, strict=True)
            if name in point["forms"]
        ]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in dots)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in dots]
    return "".join(parts)


if __name__ == "__main__":
    run(main)
