"""Bars of measurements as an SVG file: a panel a measure, a group a workload, a bar a tool. No library, so that it runs anywhere."""

from html import escape

COLOURS = {"levault": "#1b6ca8", "restic": "#b0b7bf", "borg": "#d6a86a", "rustic": "#8aa88a"}
WIDTH, PANEL, LEFT, TOP = 760, 190, 60, 30


def text(x, y, words, anchor="start", size=11):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">{escape(words)}</text>'


def panel(y, title, results, value):
    """Each group has its own scale: what counts is how the tools stand beside each other on one workload."""
    parts = [text(LEFT, y + 14, title, size=13)]
    width = (WIDTH - LEFT - 20) / max(1, len(results))
    floor, height = y + PANEL - 28, PANEL - 62
    for at, (workload, tools) in enumerate(results.items()):
        values = {name: value(found) for name, found in tools.items()}
        most = max(values.values()) or 1
        bar = (width - 24) / max(1, len(values))
        for number, (name, one) in enumerate(values.items()):
            tall, x = height * one / most, LEFT + at * width + number * bar
            colour = COLOURS.get(name, "#999999")
            parts.append(f'<rect x="{x:.1f}" y="{floor - tall:.1f}" width="{bar - 3:.1f}" height="{tall:.1f}" fill="{colour}"/>')
            parts.append(text(x + (bar - 3) / 2, floor - tall - 3, f"{one:.3g}", "middle", 9))
        parts.append(text(LEFT + at * width + (width - 24) / 2, floor + 14, workload, "middle"))
    return parts


def draw(path, results, measures):
    """`results`: workload to tool to what was found; `measures`: titles and what to take of it."""
    names = list(next(iter(results.values())))
    parts = []
    for at, name in enumerate(names):
        colour = COLOURS.get(name, "#999999")
        parts.append(f'<rect x="{LEFT + at * 90}" y="10" width="10" height="10" fill="{colour}"/>')
        parts.append(text(LEFT + at * 90 + 14, 19, name))
    for at, (title, value) in enumerate(measures):
        parts += panel(TOP + at * PANEL, title, results, value)
    height = TOP + len(measures) * PANEL + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" fill="#222">'
    back = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    path.write_text("\n".join([head, back, *parts, "</svg>"]) + "\n")
