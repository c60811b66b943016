#!/usr/bin/env python3
"""Draws a terminal's contents as SVG: how demo.svg is made (docs/testing.md).

    tmux new-session -d -x 132 -y 40 'target/release/hb demo; sleep 60'
    sleep 21; tmux capture-pane -e -p | docs/images/make-demo-svg.py > docs/images/demo.svg
"""
import re
import sys
from html import escape

WIDTH, HEIGHT, MARGIN = 7.8, 17, 14  # of a character cell, and around the text; pixels
COLOURS = {31: "#ff6b6b", 32: "#69db7c", 33: "#ffd43b", 34: "#74c0fc"}
BLOCKS = {"█": (1.0, 1.0), "▄": (0.5, 1.0), "▒": (1.0, 0.5)}  # height, opacity; rectangles, since fonts leave gaps


def cells(line, style):
    """(column, character, colour, bold, dim) of each cell; the style goes on in the next line."""
    column = 0
    for text, codes in re.findall(r"([^\x1b]+)|\x1b\[([\d;]*)m", line):
        for code in map(int, (codes or "0").split(";")) if not text else []:
            if code == 0:
                style.update(colour="#dee2e6", bold=False, dim=False)
            elif code in (1, 2):
                style["bold" if code == 1 else "dim"] = True
            elif code in COLOURS or code == 39:
                style["colour"] = COLOURS.get(code, "#dee2e6")
        for char in text:
            yield column, char, style["colour"], style["bold"], style["dim"]
            column += 1


def draw(line, row, style):
    y, run, out = MARGIN + row * HEIGHT, None, []
    for column, char, *look in [*cells(line, style), (999, " ", None, False, False)]:
        if run and (run[0] + len(run[1]) != column or run[2] != look or char in BLOCKS):
            x, colour, bold, dim = MARGIN + run[0] * WIDTH, *run[2]
            weight, text = ' font-weight="bold"' * bold + ' opacity=".6"' * dim, run[1].rstrip()
            length = f'textLength="{len(text) * WIDTH:.1f}"'
            out.append(f'<text x="{x:.1f}" y="{y + 13}" fill="{colour}" {length}{weight}>{escape(text)}</text>')
            run = None
        if char in BLOCKS:
            part, opacity = BLOCKS[char]
            out.append(f'<rect x="{MARGIN + column * WIDTH:.1f}" y="{y + HEIGHT * (1 - part):.1f}" width="{WIDTH}" '
                       f'height="{HEIGHT * part}" fill="{look[0]}" opacity="{opacity}"/>')
        elif column < 999:
            run = (run[0], run[1] + char, look) if run else (column, char, look) if char != " " else None
    return out


lines = sys.stdin.read().rstrip().split("\n")
plain = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in lines]
width, height = 2 * MARGIN + max(map(len, plain)) * WIDTH, 2 * MARGIN + len(lines) * HEIGHT
style = {"colour": "#dee2e6", "bold": False, "dim": False}
print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" font-size="13" '
      'font-family="ui-monospace, DejaVu Sans Mono, Menlo, Consolas, monospace" xml:space="preserve">')
print(f'<title>hb demo</title><rect width="100%" height="100%" rx="8" fill="#1b1e23"/>')
for row, line in enumerate(lines):
    print("\n".join(draw(line, row, style))) if plain[row] else None
print("</svg>")
