"""The table of scripts/bench: its rows, printed and kept."""

import json
import os
import sys

from bench_parts import ROOT

ROWS = []


def row(figure, this, peer, unit, goal, met, note=""):
    """One line of the table; `peer` may be None, `met` whether the goal is reached."""
    ratio = this / peer if peer else None
    ROWS.append(
        dict(figure=figure, this=this, peer=peer, unit=unit, ratio=ratio, goal=goal, met=met, note=note)
    )
    print(f"  {figure}: {this:.3g} {unit}", file=sys.stderr)


def table():
    heads = ("figure", "this", "peer", "ratio", "goal", "met", "")
    lines = [heads]
    for each in ROWS:
        number = lambda value: "–" if value is None else f"{value:.2f} {each['unit']}".strip()
        ratio = "–" if each["ratio"] is None else f"{each['ratio']:.2f}"
        met = "yes" if each["met"] else "NO"
        lines.append((each["figure"], number(each["this"]), number(each["peer"]), ratio, each["goal"], met, each["note"]))
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def finish():
    """Prints the table, and writes it to target/bench.json."""
    load = os.getloadavg()[0]
    table()
    print(f"load average {load:.1f} on {os.cpu_count()} processors")
    result = {"load": load, "processors": os.cpu_count(), "rows": ROWS}
    place = ROOT / "target/bench.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
