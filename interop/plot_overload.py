"""Draws the CSV of `jepsen-like overload --csv FILE` as an SVG: requests a second, memory and zone over time."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

WIDTH, HEIGHT, LEFT, GAP = 860, 150, 70, 44
COLOURS = {"acked": "#1a7f37", "refused": "#cf222e", "offered": "#8c959f", "memory": "#0969da"}
ZONES = {"0": "#dafbe1", "1": "#fff8c5", "2": "#ffebe9"}


def line(values: list[float], top: float, most: float, colour: str) -> str:
    """One curve."""
    step = (WIDTH - LEFT) / max(1, len(values) - 1)
    points = " ".join(f"{LEFT + n * step:.1f},{top + HEIGHT * (1 - value / most):.1f}" for n, value in enumerate(values))
    return f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{points}"/>'


def text(x: float, y: float, words: str, colour: str = "#24292f", anchor: str = "start") -> str:
    """Some words."""
    return f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}">{words}</text>'


def main() -> None:
    """Entry point: the CSV, and the budget in MiB to draw as a line."""
    source, target, budget = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    rows = list(csv.DictReader(source.open()))
    number = lambda row, name: float(row[name] or 0)  # noqa: E731
    memory = [number(row, "rss_anon_mib") for row in rows]
    most = max(number(row, "offered") for row in rows) or 1
    second, limit = HEIGHT + 2 * GAP, (budget + 64) * 1.05
    step = (WIDTH - LEFT) / max(1, len(rows) - 1)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {second + HEIGHT + GAP}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{second + HEIGHT + GAP}" fill="white"/>',
    ]
    for n, row in enumerate(rows):
        colour = ZONES.get(row.get("zone", "").split(".")[0], "#ffffff")
        for top in (GAP, second):
            out.append(f'<rect x="{LEFT + n * step:.1f}" y="{top}" width="{step + 0.5:.1f}" height="{HEIGHT}" fill="{colour}"/>')
    out.append(text(LEFT, GAP - 10, "requests a second: offered (grey), acknowledged (green), refused with a retry delay (red)"))
    for name in ("offered", "acked", "refused"):
        out.append(line([number(row, name) for row in rows], GAP, most, COLOURS[name]))
    out.append(text(LEFT - 6, GAP + 10, f"{most:,.0f}", anchor="end"))
    out.append(text(LEFT, second - 10, "RssAnon in MiB (blue); dashed: the budget, and the budget and 64 MiB. Background: the zone"))
    for bound in (budget, budget + 64):
        y = second + HEIGHT * (1 - bound / limit)
        out.append(f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#24292f" stroke-dasharray="4 4"/>')
        out.append(text(LEFT - 6, y + 4, f"{bound:.0f}", anchor="end"))
    out.append(line(memory, second, limit, COLOURS["memory"]))
    out.append(text(WIDTH, second + HEIGHT + 20, f"{len(rows)} s", anchor="end"))
    out.append("</svg>")
    target.write_text("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
