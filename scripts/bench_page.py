"""The card, the table and the picture of docs/figures.md, from the last run of scripts/bench:
    python3 scripts/bench_page.py"""

import json
from xml.sax.saxutils import escape

from bench_parts import ROOT
from bench_table import number, spread
from growth_plot import STYLE

WIDTH, NAMES, LINE, TOP = 860, 330, 22, 48
# The picture ends at so many times the goal.
END = 2.0


def card(result):
    machine = result["machine"]
    return (
        f"Measured {result['date'][:10]} on commit {result['checkout']}: {machine['processors']} processors "
        f"({machine['processor']}), {machine['memory']} GB, Linux {machine['kernel'].split('-')[0]}, "
        f"load average {result['load']:.1f} at the end (at {machine['processors']} or less nobody else worked)."
    )


def table(result):
    lines = [
        "| figure | ours | least–most | peer | least–most | ratio | goal | reached |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        amount = lambda value: "–" if value is None else f"{number(value)} {row['unit']}".strip()
        ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f}"
        reached = {True: "yes", False: "**no**", None: "–"}[row["met"]]
        lines.append(
            f"| {row['figure']} | {amount(row['this'])} | {spread(row['samples']['this'])} "
            f"| {amount(row['peer'])} | {spread(row['samples']['peer'])} | {ratio} | {row['goal']} | {reached} |"
        )
    return "\n".join(lines)


def shares(row):
    """The least, the median and the most of the goal that was used: 1 is the goal itself."""
    values = min(row["samples"]["this"]), row["this"], max(row["samples"]["this"])
    if row["goal"].startswith("≥"):
        return sorted(row["limit"] / value for value in values)
    return [value / row["limit"] if row["limit"] else float(value > 0) for value in values]


def plot(result):
    rows = [row for row in result["rows"] if row["limit"] is not None]
    height = TOP + LINE * len(rows) + 40
    at = lambda share: NAMES + min(max(share, 0), END) / END * (WIDTH - NAMES - 60)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="14" role="img" aria-labelledby="t">',
        '<title id="t">How much of its goal each figure uses</title>',
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}"/>',
        f'<text class="head" x="{NAMES}" y="24">share of the goal that is used; less is better</text>',
    ]
    for share in (0, 0.5, 1, 1.5, 2):
        style = "axis" if share == 1 else "grid"
        parts.append(f'<path class="{style}" d="M{at(share):.1f} {TOP - 8}V{height - 32}"/>')
        label = "goal" if share == 1 else f"{share:g}"
        parts.append(f'<text class="note" x="{at(share):.1f}" y="{height - 14}" text-anchor="middle">{label}</text>')
    for place, row in enumerate(rows):
        y = TOP + LINE * place + LINE / 2
        least, middle, most = shares(row)
        which = "this" if row["met"] else "peer"
        parts.append(f'<text class="note" x="{NAMES - 10}" y="{y + 4}" text-anchor="end">{escape(row["figure"])}</text>')
        parts.append(f'<path class="{which}" style="stroke-dasharray:none" d="M{at(least):.1f} {y}H{at(most):.1f}"/>')
        parts.append(f'<circle class="{which}-dot" cx="{at(middle):.1f}" cy="{y}" r="5"/>')
        parts.append(f'<text class="note" x="{WIDTH - 50}" y="{y + 4}">{middle:.2f}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def write(result):
    page, picture = ROOT / "docs/figures.md", ROOT / "docs/figures.svg"
    before, rest = page.read_text().split("<!-- figures -->\n")
    _, after = rest.split("<!-- end of figures -->\n")
    page.write_text(f"{before}<!-- figures -->\n{card(result)}\n\n{table(result)}\n\n<!-- end of figures -->\n{after}")
    picture.write_text(plot(result))


if __name__ == "__main__":
    write(json.loads((ROOT / "target/bench.json").read_text()))
