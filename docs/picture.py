#!/usr/bin/python3
"""Draws docs/ness.svg: the loop, and the falling loss of two runs of the same task.

    ness train tools/experiments/xor-bench.toml --log xor-simulation.h5
    ness train tools/experiments/xor-bench.toml --device emulated \\
      --bench tools/experiments/bench-emulated.toml
    docs/picture.py xor-simulation.h5 xor-bench.h5 > docs/ness.svg"""
import math
import sys

import h5py

INK, SOFT, BLUE, ORANGE = "#1b1f24", "#6a737d", "#0b62c4", "#c4560b"
parts = []


def text(x, y, words, size=15, anchor="middle", colour=INK, weight="normal"):
    parts.append(
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{words}</text>'
    )


def box(x, y, width, height, title, *lines):
    parts.append(
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="#f6f8fa" stroke="{INK}" '
        'stroke-width="1.5"/>'
    )
    text(x + width / 2, y + 24, title, 16, weight="bold")
    for index, line in enumerate(lines):
        text(x + width / 2, y + 45 + 18 * index, line, 13, colour=SOFT)


def arrow(points, label=None, at=None, anchor="middle"):
    path = " ".join(f"{x},{y}" for x, y in points)
    parts.append(
        f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.8" marker-end="url(#head)"/>'
    )
    if label:
        text(*at, label, 13, anchor)


def network(x, y):
    """A 2-2-1 network."""
    left, middle, right = [(x, y), (x, y + 44)], [(x + 52, y), (x + 52, y + 44)], [(x + 104, y + 22)]
    for source in left:
        for target in middle:
            parts.append(
                f'<line x1="{source[0]}" y1="{source[1]}" x2="{target[0]}" y2="{target[1]}" stroke="{SOFT}" '
                'stroke-width="1.5"/>'
            )
    for source in middle:
        parts.append(
            f'<line x1="{source[0]}" y1="{source[1]}" x2="{right[0][0]}" y2="{right[0][1]}" stroke="{SOFT}" '
            'stroke-width="1.5"/>'
        )
    for node, colour in (
        [(n, BLUE) for n in left] + [(n, "#ffffff") for n in middle] + [(n, ORANGE) for n in right]
    ):
        parts.append(
            f'<circle cx="{node[0]}" cy="{node[1]}" r="8" fill="{colour}" stroke="{INK}" stroke-width="1.5"/>'
        )


def loop():
    text(255, 28, "one relaxation after another", 16, weight="bold")
    box(20, 50, 200, 150, "device", "a network in simulation,", "or a bench of instruments")
    network(68, 134)
    box(
        300,
        50,
        190,
        150,
        "training loop",
        "loss at the outputs,",
        "gradient by an estimator,",
        "step of the parameters",
        "",
        "",
    )
    arrow([(300, 84), (222, 84)], "impose", (261, 76))
    arrow([(220, 168), (298, 168)], "read when", (259, 142))
    text(259, 158, "settled", 13)
    box(90, 282, 330, 76, "log (HDF5)", "every relaxation, every step;", "re-executes bit for bit")
    arrow([(120, 200), (120, 280)], "relaxations", (128, 245), "start")
    arrow([(395, 200), (395, 280)], "steps", (387, 245), "end")


def losses(file):
    with h5py.File(file, "r", locking=False) as log:
        count = log["/committed"][:]
        return log["/entry/training/loss"][: count[1]]


def curves(runs):
    left, top, width, height = 600, 50, 360, 270
    text(left + width / 2, 28, "XOR: loss of each training step", 16, weight="bold")
    most = max(len(loss) for _, loss, _ in runs)
    low, high = -4, 0
    for decade in range(low, high + 1):
        y = top + height * (high - decade) / (high - low)
        parts.append(f'<line x1="{left}" y1="{y:g}" x2="{left + width}" y2="{y:g}" stroke="#d8dee4"/>')
        parts.append(
            f'<text x="{left - 8}" y="{y + 5:g}" font-size="13" text-anchor="end" fill="{SOFT}">10'
            f'<tspan dy="-5" font-size="10">{decade}</tspan></text>'.replace(">-", ">−")
        )
    for step in range(0, most + 1, 200):
        x = left + width * step / most
        parts.append(
            f'<line x1="{x:g}" y1="{top + height}" x2="{x:g}" y2="{top + height + 5}" stroke="{INK}"/>'
        )
        text(x, top + height + 20, str(step), 13, colour=SOFT)
    text(left + width / 2, top + height + 40, "step", 13, colour=SOFT)
    parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="{INK}"/>')
    for index, (name, loss, colour) in enumerate(runs):
        points = " ".join(
            f"{left + width * step / most:.1f},{top + height * (high - math.log10(value)) / (high - low):.1f}"
            for step, value in enumerate(loss)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.8"/>')
        text(left + 14, top + height - 38 + 20 * index, name, 13, "start", colour)


loop()
curves(
    [
        ("in simulation", losses(sys.argv[1]), BLUE),
        ("on emulated instruments, the same experiment file", losses(sys.argv[2]), ORANGE),
    ]
)
print(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 980 380" width="980" height="380" '
    'font-family="DejaVu Sans, Arial, sans-serif">'
)
print("<title>The loop of Ness, and the loss of two training runs</title>")
print(
    '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" '
    f'orient="auto"><path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker></defs>'
)
print('<rect width="980" height="380" fill="#ffffff"/>')
print("\n".join(parts))
print("</svg>")
