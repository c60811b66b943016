#!/usr/bin/env python3
"""Draws the cables of docs/hardware: null-modem-9.svg, null-modem-25.svg, crossover.svg.

    docs/images/make-cable-svgs.py [DIRECTORY]

No dependencies. The pins stand in the tables below, once; pages and pictures must agree with them.
"""

import pathlib
import sys

INK, PALE, LINE, PAPER = "#1f2937", "#6b7280", "#d1d5db", "#ffffff"
DATA, FLOW, READY, GROUND = "#2563eb", "#059669", "#d97706", "#4b5563"

# Signals of an RS-232 port (DTE), top to bottom, with their pins on 9 and on 25.
SIGNALS = [
    ("TxD", "sends data", 3, 2),
    ("RxD", "receives data", 2, 3),
    ("RTS", "request to send", 7, 4),
    ("CTS", "clear to send", 8, 5),
    ("DTR", "terminal ready", 4, 20),
    ("DSR", "data set ready", 6, 6),
    ("DCD", "carrier detect", 1, 8),
    ("GND", "signal ground", 5, 7),
]
# What is joined: left, right, colour. Each is crossed but the ground.
WIRES = [
    ("TxD", "RxD", DATA), ("RxD", "TxD", DATA),
    ("RTS", "CTS", FLOW), ("CTS", "RTS", FLOW),
    ("DTR", "DSR", READY), ("DSR", "DTR", READY),
    ("GND", "GND", GROUND),
]

# Appendix A of the guide, connector A to connector B; colours as T568B has them at connector A.
CROSSOVER = [
    (1, 3, "#f97316", True, "white-orange"), (2, 6, "#f97316", False, "orange"),
    (3, 1, "#16a34a", True, "white-green"), (4, 7, "#2563eb", False, "blue"),
    (5, 8, "#2563eb", True, "white-blue"), (6, 2, "#16a34a", False, "green"),
    (7, 4, "#92400e", True, "white-brown"), (8, 5, "#92400e", False, "brown"),
]
ROW = 40


def text(x, y, words, size=15, colour=INK, anchor="start", weight=400):
    return (f'<text x="{x}" y="{y}" font-size="{size}" fill="{colour}" text-anchor="{anchor}"'
            f' font-weight="{weight}">{words}</text>')


def page(width, height, title, body):
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" font-family="DejaVu Sans, Verdana, Helvetica, sans-serif">',
        f"<title>{title}</title>",
        f'<rect x="1" y="1" width="{width - 2}" height="{height - 2}" rx="14" fill="{PAPER}" '
        f'stroke="{LINE}" stroke-width="2"/>',
        *body,
        "</svg>",
        "",
    ])


def curve(x1, y1, x2, y2, colour, width=3.5, dash=""):
    """A wire; a pale edge keeps crossings readable."""
    bend = (x2 - x1) * 0.5
    path = f"M{x1} {y1} C{x1 + bend:.0f} {y1} {x2 - bend:.0f} {y2} {x2} {y2}"
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return [
        f'<path d="{path}" fill="none" stroke="{PAPER}" stroke-width="{width + 5}"/>',
        f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}"{dashes}/>',
    ]


def pin(x, y, number, colour):
    return [
        f'<circle cx="{x}" cy="{y}" r="14" fill="{PAPER}" stroke="{colour}" stroke-width="3"/>',
        text(x, y + 5, number, 14, INK, "middle", 700),
    ]


def d_face(cx, top, pins, used):
    """The back of a cable's female plug, where the wires are soldered."""
    above, below, pitch = (pins + 1) // 2, pins // 2, 34 if pins == 9 else 27
    half = (above - 1) * pitch / 2 + 34
    y0, y1, slant, r = top, top + 96, 17, 16
    path = (f"M{cx - half + r} {y0} H{cx + half - r} Q{cx + half} {y0} {cx + half - 3} {y0 + r} "
            f"L{cx + half - slant} {y1 - r} Q{cx + half - slant - 3} {y1} {cx + half - slant - r - 3} {y1} "
            f"H{cx - half + slant + r + 3} Q{cx - half + slant + 3} {y1} {cx - half + slant} {y1 - r} "
            f"L{cx - half + 3} {y0 + r} Q{cx - half} {y0} {cx - half + r} {y0} Z")
    out = [f'<path d="{path}" fill="#f3f4f6" stroke="{PALE}" stroke-width="2.5"/>']
    for number in range(1, pins + 1):
        row = number > above
        index, count = (number - above - 1, below) if row else (number - 1, above)
        x = cx + (index - (count - 1) / 2) * pitch
        y = top + (66 if row else 30)
        colour = used.get(number)
        fill = PAPER if colour else "#e5e7eb"
        out.append(f'<circle cx="{x}" cy="{y}" r="12" fill="{fill}" '
                   f'stroke="{colour or LINE}" stroke-width="{3 if colour else 1.5}"/>')
        out.append(text(x, y + 4.5, number, 12, INK if colour else PALE, "middle", 700 if colour else 400))
    return out


def null_modem(pins):
    width, left, right, top = 940, 300, 640, 262
    number = {name: (nine if pins == 9 else many) for name, _, nine, many in SIGNALS}
    colours = {"TxD": DATA, "RxD": DATA, "RTS": FLOW, "CTS": FLOW, "GND": GROUND}
    colour = {name: colours.get(name, READY) for name, *_ in SIGNALS}
    y = {name: top + ROW * i for i, (name, *_) in enumerate(SIGNALS)}
    height = top + ROW * len(SIGNALS) + 80
    body = [
        text(width / 2, 44, f"Null-modem cable, {pins} pins at both ends", 23, INK, "middle", 700),
        text(width / 2, 70, "each plug seen from the back, where you solder; the machine's own port "
             "looks the same from the front", 13.5, PALE, "middle"),
    ]
    used = {number[name]: colour[name] for name in number}
    for centre in (left - 65, right + 65):
        body += d_face(centre, 90, pins, used)
    for x, anchor, words in ((left - 65, "middle", "node 1"), (right + 65, "middle", "node 2")):
        body.append(text(x, 214, words, 15, INK, anchor, 700))
    # Shells of the plugs, the wires between them, the bridge inside each.
    for x in (40, right - 40):
        body.append(f'<rect x="{x}" y="{top - 28}" width="300" height="{ROW * len(SIGNALS) + 16}" rx="12" '
                    f'fill="#f9fafb" stroke="{LINE}" stroke-width="1.5"/>')
    for a, b, of in WIRES:
        body += curve(left + 14, y[a], right - 14, y[b], of)
    for x, side in ((left, -1), (right, 1)):
        a, b = y["DSR"] + 14, y["DCD"] - 14
        body.append(f'<path d="M{x} {a} V{b}" stroke="{READY}" stroke-width="3.5"/>')
        for name, meaning, *_ in SIGNALS:
            body += pin(x, y[name], number[name], colour[name])
            anchor = "end" if side < 0 else "start"
            body.append(text(x + side * 26, y[name] + 5, name, 15, INK, anchor, 700))
            body.append(text(x + side * 78, y[name] + 5, meaning, 13.5, PALE, anchor))
    foot = height - 58
    unused = "pin 9 (RI) stays free" if pins == 9 else "pin 1 (shield) goes to the shell at one end"
    three = sorted(number[name] for name in ("TxD", "RxD", "GND"))
    body.append(text(width / 2, foot, f"DSR and DCD are bridged inside each plug; {unused}.", 13.5, PALE, "middle"))
    body.append(text(width / 2, foot + 20, f"heartbeat needs three wires only ({three[0]}, {three[1]}, {three[2]}); "
                     "with the others hb serial test can tell more.", 13.5, PALE, "middle"))
    x = width / 2 - 243
    for of, words, step in ((DATA, "data", 96), (FLOW, "flow control", 150), (READY, "ready, carrier", 158),
                            (GROUND, "ground", 0)):
        body.append(f'<path d="M{x} {foot + 41} h26" stroke="{of}" stroke-width="4"/>')
        body.append(text(x + 34, foot + 46, words, 13))
        x += step
    return page(width, height, f"Null-modem cable with {pins} pins at both ends: which pin is joined to which", body)


def rj45(cx, top, colours):
    """A plug with its contacts towards you and its clip behind: pin 1 at the left."""
    out = [f'<rect x="{cx - 74}" y="{top}" width="148" height="86" rx="8" fill="#f3f4f6" stroke="{PALE}" '
           'stroke-width="2.5"/>',
           f'<rect x="{cx - 40}" y="{top + 86}" width="80" height="16" rx="4" fill="#e5e7eb" stroke="{PALE}" '
           'stroke-width="2"/>']
    for index, (of, striped) in enumerate(colours):
        x = cx - 63 + index * 18
        out.append(text(x, top + 19, index + 1, 12, INK, "middle", 700))
        out.append(f'<rect x="{x - 4}" y="{top + 25}" width="8" height="20" fill="#fbbf24" stroke="#b45309"/>')
        out.append(f'<path d="M{x} {top + 47} v36" stroke="{of}" stroke-width="7"/>')
        if striped:
            out.append(f'<path d="M{x} {top + 47} v36" stroke="{PAPER}" stroke-width="4" stroke-dasharray="6 5"/>')
    return out


def crossover():
    width, left, right, top = 940, 250, 690, 268
    y = {n: top + ROW * (n - 1) for n in range(1, 9)}
    height = top + ROW * 8 + 40
    at_a = {a: (of, striped) for a, _, of, striped, _ in CROSSOVER}
    at_b = {b: (of, striped) for _, b, of, striped, _ in CROSSOVER}
    names_a = {a: name for a, _, _, _, name in CROSSOVER}
    names_b = {b: name for _, b, _, _, name in CROSSOVER}
    body = [
        text(width / 2, 44, "Crossover cable for Ethernet", 23, INK, "middle", 700),
        text(width / 2, 70, "plugs with the contacts towards you and the clip behind: pin 1 is at the left",
             13.5, PALE, "middle"),
    ]
    for cx, colours, words in ((left - 60, at_a, "connector A"), (right + 60, at_b, "connector B")):
        body += rj45(cx, 92, [colours[n] for n in range(1, 9)])
        body.append(text(cx, 220, words, 15, INK, "middle", 700))
    for x in (40, right - 40):
        body.append(f'<rect x="{x}" y="{top - 28}" width="250" height="{ROW * 8 + 16}" rx="12" fill="#f9fafb" '
                    f'stroke="{LINE}" stroke-width="1.5"/>')
    for a, b, of, striped, _ in CROSSOVER:
        body += curve(left + 14, y[a], right - 14, y[b], of, 5)
        if striped:
            body.append(curve(left + 14, y[a], right - 14, y[b], PAPER, 2.6, "9 7")[1])
    for number in range(1, 9):
        for x, side, names, colours in ((left, -1, names_a, at_a), (right, 1, names_b, at_b)):
            body += pin(x, y[number], number, colours[number][0])
            anchor = "end" if side < 0 else "start"
            body.append(text(x + side * 28, y[number] + 5, names[number], 14, INK, anchor))
    body.append(text(width / 2, height - 20, "A is wired as T568B has it. All four pairs are crossed: good for 10, 100 "
                     "and 1000 Mbit/s.", 13.5, PALE, "middle"))
    return page(width, height, "Crossover cable: which pin of connector A is joined to which of connector B", body)


def main():
    directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent
    for name, picture in (("null-modem-9", null_modem(9)), ("null-modem-25", null_modem(25)),
                          ("crossover", crossover())):
        (directory / f"{name}.svg").write_text(picture)


if __name__ == "__main__":
    main()
