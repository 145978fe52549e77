#!/usr/bin/env python3
"""Draws what `end_to_end --json FILE` measured as an SVG file. Needs Python's standard library only.

usage: bench/plot.py FILE.json FILE.svg [--protocol tcp|udp]

One row a path: a bar up to the median p50, a tick at the p99, a dot for each round's p50. The axis is logarithmic, because the kernel is an
order of magnitude away.
"""
import argparse
import json
import math
import sys
from xml.sax.saxutils import escape

NAMES = {"wire": "bare wire", "native": "C++ library", "shim": "unmodified program", "kernel": "kernel loopback"}
COLOURS = {"wire": "#8a8f98", "native": "#1b7f5c", "shim": "#2463b0", "kernel": "#c0562b"}
WIDTH, LEFT, RIGHT, ROW, BAR, TOP = 760, 150, 110, 34, 18, 58


def decades(values):
    """The axis: from the power of ten, or half of it, below the smallest value to the one above the largest."""
    low = 10 ** math.floor(math.log10(min(values)))
    high = 10 ** math.ceil(math.log10(max(values) * 1.001))
    return low, high


class Drawing:
    def __init__(self, height, low, high):
        self.low, self.high = low, high
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            'font-family="sans-serif" font-size="13" fill="#222">',
            f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        ]

    def x(self, value):
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def add(self, element):
        self.parts.append(element)

    def text(self, x, y, words, anchor="start", more=""):
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>')

    def line(self, x1, y1, x2, y2, colour, width=1.0):
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>')

    def finish(self):
        return "\n".join(self.parts + ["</svg>", ""])


def duration(ns):
    return f"{ns:.0f} ns" if ns < 1000 else f"{ns / 1000:.3g} µs"


def draw_axis(drawing, bottom):
    decade = drawing.low
    while decade <= drawing.high * 1.001:
        for step in (1, 2, 5):
            value = decade * step
            if value <= drawing.high * 1.001:
                x = drawing.x(value)
                drawing.line(x, TOP - 8, x, bottom, "#ddd" if step == 1 else "#eee")
                drawing.text(x, bottom + 16, duration(value), "middle", 'font-size="11" fill="#666"')
        decade *= 10


def draw_row(drawing, series, y):
    colour = COLOURS.get(series["path"], "#555")
    median = series["median"]
    middle = y + BAR / 2
    end = drawing.x(median["p50_ns"])
    drawing.text(LEFT - 10, middle + 4, NAMES.get(series["path"], series["path"]), "end")
    drawing.add(f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" fill="{colour}" opacity="0.85"/>')
    p99 = drawing.x(min(median["p99_ns"], drawing.high))
    drawing.line(end, middle, p99, middle, colour)
    drawing.line(p99, y + 3, p99, y + BAR - 3, colour, 2)
    for one in series["rounds"]:
        drawing.add(f'<circle cx="{drawing.x(one["p50_ns"]):.1f}" cy="{middle:.1f}" r="2" fill="#fff" stroke="{colour}"/>')
    label = duration(median["p50_ns"])
    if series["path"] != "wire" and median["wire_ratio"] > 0:
        label += f' ({median["wire_ratio"]:.2f}×)'
    drawing.text(max(end, p99) + 8, middle + 4, label)


def draw(run, protocol):
    rows = [series for series in run["series"] if series["protocol"] == protocol and series["rounds"]]
    if not rows:
        sys.exit(f"plot.py: the file has no figures for {protocol}")
    low, high = decades([s["median"][key] for s in rows for key in ("p50_ns", "p99_ns")])
    bottom = TOP + ROW * len(rows)
    drawing = Drawing(bottom + 44, low, high)
    drawing.text(LEFT, 20, f'{protocol.upper()}, {run["payload_bytes"]} bytes: half round trip', more='font-size="15" font-weight="bold"')
    drawing.text(LEFT, 38, f'bar: median p50 of {run["rounds"]} rounds (times the bare wire); tick: p99; dots: the rounds', more='font-size="11" fill="#666"')
    draw_axis(drawing, bottom)
    for number, series in enumerate(rows):
        draw_row(drawing, series, TOP + number * ROW + (ROW - BAR) / 2)
    drawing.text(LEFT, bottom + 36, f'{run["processor"]}, Linux {run["kernel"]}, cores {run["cores"][0]} and {run["cores"][1]}', more='font-size="11" fill="#666"')
    return drawing.finish()


def main():
    parser = argparse.ArgumentParser(description="Draws the JSON of end_to_end as SVG.")
    parser.add_argument("json", help="the file that end_to_end --json wrote")
    parser.add_argument("svg", help="the file to write")
    parser.add_argument("--protocol", choices=("tcp", "udp"), default="tcp")
    arguments = parser.parse_args()
    try:
        with open(arguments.json, encoding="utf-8") as stream:
            run = json.load(stream)
        drawing = draw(run, arguments.protocol)
        with open(arguments.svg, "w", encoding="utf-8") as stream:
            stream.write(drawing)
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"plot.py: {error}")


if __name__ == "__main__":
    main()
