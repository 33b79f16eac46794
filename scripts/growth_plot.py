"""The table and the plot of scripts/growth."""

import math
from xml.sax.saxutils import escape

COLUMNS, WIDTH, HEIGHT = 2, 430, 250
# Of the axes, in a panel.
LEFT, TOP, RIGHT, BOTTOM = 64, 40, 24, 48

STYLE = """
  .page { fill: #fff } text { fill: #1f2328 } .note { fill: #57606a; font-size: 12px }
  .head { font-weight: 700 } .grid { stroke: #d8dee4; fill: none } .axis { stroke: #57606a; fill: none }
  .linear { stroke: #8c959f; stroke-dasharray: 2 4; fill: none }
  .this { stroke: #0550ae; stroke-width: 2; fill: none } .this-dot { fill: #0550ae }
  .peer { stroke: #bc4c00; stroke-width: 2; stroke-dasharray: 7 4; fill: none } .peer-dot { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .note { fill: #b1bac4 }
    .grid { stroke: #30363d } .axis { stroke: #9198a1 } .linear { stroke: #6e7681 }
    .this { stroke: #79c0ff } .this-dot { fill: #79c0ff }
    .peer { stroke: #ffa657 } .peer-dot { fill: #ffa657 }
  }
"""


def short(value):
    """1000000 as 1M, 0.5 as 0.5."""
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def figure(value):
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def growth(points, key):
    """The exponent between the two largest sizes: 1 is linear, less is better."""
    if len(points) < 2:
        return None
    a, b = points[-2:]
    return math.log(b[key] / a[key]) / math.log(b["size"] / a["size"])


def told(result):
    """What it was measured with."""
    machine, versions = result["machine"], result["versions"]
    return (
        f"Measured {machine['date']} on {result['checkout']}: "
        f"{machine['processors']} processors ({machine['processor']}), {machine['memory']} GB, "
        f"Linux {machine['kernel'].split('-')[0]}, load average {result['load']:.1f} at "
        f"the end (at {machine['processors']} or less nobody else worked); "
        f"{'; '.join(versions.values())}."
    )


def table(result):
    lines = [
        "| what | how many | ours | peer | ours / peer | runs of each | memory of ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for series in result["series"]:
        for place, point in enumerate(series["points"]):
            name = f"{series['name']}; peer: `{series['peer']}`" if place == 0 else ""
            unit = series["unit"]
            held = f"{point['memory']:.1f} MB" if point.get("memory") else "–"
            lines.append(
                f"| {name} | {point['size']:,} {series['size']} | {figure(point['this'])} {unit} "
                f"| {figure(point['peer'])} {unit} | {point['this'] / point['peer']:.2f} "
                f"| {point['runs']} | {held} |"
            )
    lines += ["", "| what | from, to | ours | peer |", "|---|---|---|---|"]
    for series in result["series"]:
        points = series["points"]
        if len(points) < 2:
            continue
        from_to = f"{points[-2]['size']:,}, {points[-1]['size']:,} {series['size']}"
        ours, peer = growth(points, "this"), growth(points, "peer")
        lines.append(f"| {series['name']} | {from_to} | {ours:.2f} | {peer:.2f} |")
    return "\n".join(lines)


class Axis:
    """Logarithmic, from one power of ten to another."""

    def __init__(self, values, start, end):
        self.low = math.floor(math.log10(min(values)))
        self.high = max(self.low + 1, math.ceil(math.log10(max(values))))
        self.start, self.end = start, end

    def at(self, value):
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self):
        return [10.0**power for power in range(self.low, self.high + 1)]


def line(points, style):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline class="{style}" points="{path}"/>'


def panel(series, left, top):
    points = series["points"]
    values = [point[key] for point in points for key in ("this", "peer")]
    x = Axis([point["size"] for point in points], left + LEFT, left + WIDTH - RIGHT)
    y = Axis(values, top + HEIGHT - BOTTOM, top + TOP)
    parts = [f'<text class="head" x="{left + LEFT}" y="{top + 22}">{escape(series["name"])}</text>']
    for tick in x.ticks():
        at = x.at(tick)
        parts.append(f'<path class="grid" d="M{at:.1f} {y.start}V{y.end}"/>')
        parts.append(f'<text class="note" x="{at:.1f}" y="{y.start + 16}" text-anchor="middle">{short(tick)}</text>')
    for tick in y.ticks():
        at = y.at(tick)
        parts.append(f'<path class="grid" d="M{x.start} {at:.1f}H{x.end}"/>')
        parts.append(f'<text class="note" x="{x.start - 6}" y="{at + 4:.1f}" text-anchor="end">{short(tick)}</text>')
    parts.append(f'<path class="axis" d="M{x.start} {y.end}V{y.start}H{x.end}"/>')
    parts.append(f'<text class="note" x="{x.end}" y="{y.start + 34}" text-anchor="end">{escape(series["size"])}</text>')
    parts.append(f'<text class="note" x="{x.end}" y="{top + 22}" text-anchor="end">{escape(series["unit"])}</text>')
    # What linear growth looks like from our last point back, as far as there is room.
    last = points[-1]
    lowest = max(10.0**x.low, last["size"] * 10.0**y.low / last["this"])
    back = (x.at(lowest), y.at(last["this"] * lowest / last["size"]))
    parts.append(line([back, (x.at(last["size"]), y.at(last["this"]))], "linear"))
    for key in ("peer", "this"):
        places = [(x.at(point["size"]), y.at(point[key])) for point in points]
        parts.append(line(places, key))
        parts += [f'<circle class="{key}-dot" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in places]
    # The names, below the axis.
    below = y.start + 34
    parts.append(f'<path class="this" d="M{x.start} {below - 4}h22"/>')
    parts.append(f'<text class="note" x="{x.start + 27}" y="{below}">ours</text>')
    parts.append(f'<path class="peer" d="M{x.start + 64} {below - 4}h22"/>')
    parts.append(f'<text class="note" x="{x.start + 91}" y="{below}">{escape(series["peer"])}</text>')
    return parts


def plot(result):
    rows = math.ceil(len(result["series"]) / COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT + 30
    machine = result["machine"]
    foot = (
        f"both axes logarithmic; dotted: linear growth; medians; {machine['processors']} processors, "
        f"{machine['memory']} GB, Linux {machine['kernel'].split('-')[0]}, {machine['date']}"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, sans-serif" font-size="14" role="img" aria-labelledby="t">',
        '<title id="t">How time grows with the number of files, orphans, megabytes and containers</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{width}" height="{height}"/>',
    ]
    for place, series in enumerate(result["series"]):
        parts += panel(series, place % COLUMNS * WIDTH, place // COLUMNS * HEIGHT)
    parts.append(f'<text class="note" x="{LEFT}" y="{height - 10}">{escape(foot)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
