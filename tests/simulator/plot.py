#!/usr/bin/env python3
"""Draws a golden table of goodput as SVG: goodput over loss, a panel for each delay, a line for each congestion control, theory dashed.

usage: tests/simulator/plot.py tests/simulator/golden/goodput.csv docs/goodput.svg

Needs Python's standard library only. Both axes are logarithmic; no loss stands at the left edge. The buffer is the largest of the table.
"""
import csv
import math
import sys

COLOURS = {"reno": "#c0562b", "cubic": "#2463b0", "bbr": "#1b7f5c"}
PANEL_WIDTH, PANEL_HEIGHT, GAP, LEFT, TOP, BOTTOM = 230, 220, 22, 56, 54, 56
LOWEST_MBPS, HIGHEST_MBPS = 0.1, 120
NO_LOSS = 0.0002  # where a loss of 0 is drawn


def x_of(loss):
    return math.log(max(loss, NO_LOSS) / NO_LOSS) / math.log(0.13 / NO_LOSS) * PANEL_WIDTH


def y_of(mbps):
    share = math.log(max(mbps, LOWEST_MBPS) / LOWEST_MBPS) / math.log(HIGHEST_MBPS / LOWEST_MBPS)
    return TOP + PANEL_HEIGHT * (1 - share)


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{words}</text>'


def line(left, rows, column, colour, dash):
    points = " ".join(f'{left + x_of(float(row["loss"])):.1f},{y_of(float(row[column])):.1f}' for row in rows)
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>'


def panel(left, delay, rows):
    parts = [f'<rect x="{left}" y="{TOP}" width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#ccc"/>',
             text(left + PANEL_WIDTH / 2, TOP - 8, f"{delay} ms one way")]
    for loss, name in ((0, "0"), (0.001, "0.1 %"), (0.01, "1 %"), (0.05, "5 %"), (0.1, "10 %")):
        parts.append(text(left + x_of(loss), TOP + PANEL_HEIGHT + 15, name, more='font-size="10" fill="#666"'))
    for mbps in (0.1, 1, 10, 100):
        y = y_of(mbps)
        parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{left + PANEL_WIDTH}" y2="{y:.1f}" stroke="#eee"/>')
    for name, colour in COLOURS.items():
        own = [row for row in rows if row["congestion"] == name]
        if own:
            parts += [line(left, own, "theory_mbps", colour, ' stroke-dasharray="4 3" opacity="0.6"'), line(left, own, "goodput_mbps", colour, "")]
    return parts


def draw(rows):
    largest = max(int(row["buffer_kb"]) for row in rows)
    rows = [row for row in rows if int(row["buffer_kb"]) == largest]
    delays = sorted({row["delay_ms"] for row in rows}, key=float)
    width = LEFT + len(delays) * (PANEL_WIDTH + GAP)
    height = TOP + PANEL_HEIGHT + BOTTOM
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12" fill="#222">',
             f'<rect width="{width}" height="{height}" fill="#fff"/>',
             text(LEFT, 20, f"Goodput over random loss, Mbit/s; link of 100 Mbit/s, buffer of {largest} kB; dashed: theory", "start", 'font-size="14" font-weight="bold"')]
    for mbps in (0.1, 1, 10, 100):
        parts.append(text(LEFT - 6, y_of(mbps) + 4, f"{mbps:g}", "end", 'font-size="10" fill="#666"'))
    for number, delay in enumerate(delays):
        parts += panel(LEFT + number * (PANEL_WIDTH + GAP), delay, [row for row in rows if row["delay_ms"] == delay])
    for number, name in enumerate(name for name in COLOURS if any(row["congestion"] == name for row in rows)):
        x = LEFT + number * 90
        parts.append(f'<line x1="{x}" y1="{height - 16}" x2="{x + 24}" y2="{height - 16}" stroke="{COLOURS[name]}" stroke-width="2"/>')
        parts.append(text(x + 30, height - 12, name, "start"))
    return "\n".join(parts + ["</svg>", ""])


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as stream:
        drawing = draw(list(csv.DictReader(stream)))
    with open(sys.argv[2], "w", encoding="utf-8") as stream:
        stream.write(drawing)


if __name__ == "__main__":
    main()
