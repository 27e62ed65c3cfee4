#!/usr/bin/env python3
"""Draws the output of scripts/demo (standard input) as a picture of a terminal (standard output): docs/demo.svg.

    scripts/demo 2>/dev/null | scripts/lib/terminal_svg.py > docs/demo.svg

Shows the commands and what they printed, as far as WIDTH goes; temporary paths are shortened to ~.
"""

import re
import sys
from html import escape

WIDTH = 104
LEFT_OUT = ("levault ls", "levault stats", "levault get")


def blocks(text):
    """The demo's commands, each with its output; its table last."""
    for block in text.strip().split("\n\n"):
        if block.startswith("$ ") and not block[2:].startswith(LEFT_OUT) or block.startswith("|"):
            yield block.splitlines()


def main():
    text = re.sub(r"/tmp/[^/\s]+", "~", sys.stdin.read())
    lines = []
    for block in blocks(text):
        lines += [line if len(line) <= WIDTH else line[: WIDTH - 1] + "…" for line in block] + [""]
    height = 17 * len(lines) + 24
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * 8 + 28}" height="{height}" '
        'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="13">'
    )
    print(f'<rect width="100%" height="{height}" rx="6" fill="#1d2430"/>')
    for number, line in enumerate(lines):
        colour = "#8fd18f" if line.startswith("$ ") else "#d8dee9"
        if line:
            print(f'<text x="14" y="{17 * number + 26}" fill="{colour}" xml:space="preserve">{escape(line)}</text>')
    print("</svg>")


if __name__ == "__main__":
    main()
