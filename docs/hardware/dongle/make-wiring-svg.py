#!/usr/bin/env python3
"""Draws wiring.svg: the dongle between two nodes, on a Raspberry Pi Pico."""

W, H = 1160, 640
INK, SOFT, RED, BLUE, GREEN, PAPER = "#1f2933", "#7b8794", "#c0392b", "#2563a8", "#2f7d4f", "#ffffff"
out = []


def text(x, y, words, size=15, anchor="start", color=INK, bold=False):
    weight = ' font-weight="600"' if bold else ""
    out.append(
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" fill="{color}"{weight}>{words}</text>'
    )


def box(x, y, w, h, title, sub="", fill="#f5f7fa", stroke=INK):
    out.append(
        f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{fill}" stroke="{stroke}" stroke-width="1.6"/>'
    )
    text(x + w / 2, y + 24, title, 16, "middle", bold=True)
    if sub:
        text(x + w / 2, y + 43, sub, 12.5, "middle", SOFT)


def wire(points, color=INK, width=2, arrow=False):
    path = " ".join(f"{'M' if i == 0 else 'L'}{x} {y}" for i, (x, y) in enumerate(points))
    marker = ' marker-end="url(#tip)"' if arrow else ""
    out.append(f'<path d="{path}" fill="none" stroke="{color}" stroke-width="{width}"{marker}/>')


def side(mirror, name, serial, reset, line, sense, feed, uart):
    """One node's half; the right one is the left one in a mirror."""

    def x(value):
        return W - value if mirror else value

    def left(value, width):
        return W - value - width if mirror else value

    box(left(24, 176), 96, 176, 384, f"node {name}", "")
    rows = [(170, "RS-232 port"), (288, "reset header"), (406, "5 V standby / USB")]
    for y, label in rows:
        out.append(
            f'<rect x="{left(40, 144)}" y="{y - 26}" width="144" height="76" rx="6" fill="{PAPER}" stroke="{SOFT}"/>'
        )
        text(x(112), y - 4, label, 13, "middle")
    text(x(112), 190, "TxD · RxD · GND · DTR", 12, "middle", SOFT)
    text(x(112), 308, "RST · GND", 12, "middle", SOFT)
    text(x(112), 426, "+5 V · GND", 12, "middle", SOFT)

    parts = left(272, 152)
    box(parts, 144, 152, 76, serial, "RS-232 ↔ 3.3 V")
    box(parts, 262, 152, 92, "2 × PC817", "out: pulls RST low")
    text(x(348), 338, "in: feels RST", 12.5, "middle", SOFT)
    box(parts, 380, 152, 76, "Schottky diode", "and PC817 to sense it")

    pico = x(472)
    for y, color, label in [
        (168, BLUE, f"{uart[0]} TX"),
        (190, BLUE, f"{uart[1]} RX"),
        (210, GREEN, f"{sense} sense"),
        (284, RED, f"{reset} reset"),
        (330, GREEN, f"{line} line"),
        (440, GREEN, f"{feed} feed"),
    ]:
        wire([(x(424), y), (pico, y)], color)
        where = pico + (-8 if mirror else 8)
        text(where, y + 5, label, 13, "end" if mirror else "start", color)
    wire([(x(184), 180), (x(272), 180)], BLUE)
    wire([(x(184), 298), (x(272), 298)], RED)
    wire([(x(184), 416), (x(272), 416)], INK)
    wire([(x(424), 402), (x(448), 402), (x(448), 512), (pico, 512)], INK, 2.4)


out.append(
    f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H}" font-family="Helvetica, Arial, sans-serif">'
)
out.append(
    f'<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<path d="M0 0 L8 4 L0 8 z" fill="{SOFT}"/></marker></defs>'
)
out.append(f'<rect width="{W}" height="{H}" fill="{PAPER}"/>')
text(W / 2, 40, "The dongle between two nodes", 23, "middle", bold=True)
text(W / 2, 66, "a Raspberry Pi Pico; the second half is the first one in a mirror", 14, "middle", SOFT)
out.append(
    f'<rect x="472" y="96" width="216" height="470" rx="10" fill="#eef4ee" stroke="{GREEN}" stroke-width="2"/>'
)
text(W / 2, 124, "Raspberry Pi Pico", 17, "middle", bold=True)
side(False, "A", "MAX3232", "GP2", "GP4", "GP6", "GP10", ("GP0", "GP1"))
side(True, "B", "MAX3232", "GP3", "GP5", "GP7", "GP11", ("GP8", "GP9"))
text(W / 2, 236, "LEDs", 13, "middle", bold=True)
text(W / 2, 254, "GP25 alive · GP20 alarm", 12.5, "middle", SOFT)
text(W / 2, 386, "GP22 to ground: erase keys", 12.5, "middle", SOFT)
text(W / 2, 517, "VSYS", 13.5, "middle", bold=True)
text(W / 2, 538, "fed by either node", 12.5, "middle", SOFT)
text(W / 2, 271, "GP18 A · GP19 B", 12.5, "middle", SOFT)
legend = [(BLUE, "serial"), (RED, "reset output"), (GREEN, "inputs"), (INK, "power")]
for i, (color, label) in enumerate(legend):
    at = 300 + i * 150
    wire([(at, 604), (at + 34, 604)], color, 3)
    text(at + 44, 609, label, 14)
out.append("</svg>")
open(__file__.replace("make-wiring-svg.py", "wiring.svg"), "w").write("\n".join(out) + "\n")
