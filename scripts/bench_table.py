"""The table of scripts/bench: its rows with all their samples, printed and kept."""

import datetime
import json
import os
import subprocess
import sys
from statistics import median

from bench_parts import PROGRAM, ROOT, machine, run

ROWS = []


def row(figure, ours, peers, unit, goal="–", limit=None, note="", others=None):
    """One line of the table: samples of ours and of the peer's (or None), all in `unit`.

    The medians are compared. `limit` makes of the peer's the most that the goal allows, or the
    least if the goal says "≥"; it is None where there is no goal. The note ends with the medians of
    `others`, which are names with samples.
    """
    this, peer = median(ours), median(peers) if peers else None
    others = others or {}
    notes = [note] * bool(note)
    most = limit and limit(peer)
    met = None if limit is None else this >= most if goal.startswith("≥") else this <= most
    notes += [f"{name} {median(samples):.2f} {unit}" for name, samples in others.items()]
    ROWS.append(
        dict(
            figure=figure, this=this, peer=peer, unit=unit, ratio=this / peer if peer else None,
            goal=goal, limit=most, met=met, note=", ".join(notes),
            samples=dict(this=ours, peer=peers, others=others),
        )
    )
    print(f"  {figure}: {this:.3g} {unit}", file=sys.stderr)


def number(value):
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def spread(samples):
    """The smallest and the largest of some samples, and how many they are."""
    if not samples or len(samples) == 1:
        return "–"
    return f"{number(min(samples))}–{number(max(samples))} of {len(samples)}"


def table():
    lines = [("figure", "this", "least–most", "peer", "least–most", "ratio", "goal", "met", "")]
    for each in ROWS:
        amount = lambda value: "–" if value is None else f"{number(value)} {each['unit']}".strip()
        ratio = "–" if each["ratio"] is None else f"{each['ratio']:.2f}"
        met = {True: "yes", False: "NO", None: "–"}[each["met"]]
        lines.append((
            each["figure"], amount(each["this"]), spread(each["samples"]["this"]),
            amount(each["peer"]), spread(each["samples"]["peer"]), ratio, each["goal"], met,
            each["note"],
        ))
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def checkout():
    """The commit, and whether that is all there is."""
    commit = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    said = subprocess.run(commit, cwd=ROOT, capture_output=True, text=True).stdout.strip()
    return said or "unknown"


def measured(image):
    """What is about to be measured, and when (UTC); `image` may be None.

    The program is what was just built of the checkout; the image has one of its own.
    """
    what = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "program": run(PROGRAM, "--version").strip(),
        "checkout": checkout(),
    }
    if image:
        version = run("docker", "run", "--rm", "--network", "none", image, "--version")
        what |= {"image": image, "program of the image": version.strip()}
    return what


def finish(what):
    """Prints the table and `what` was measured, and writes both to target/bench.json."""
    load = os.getloadavg()[0]
    table()
    print(", ".join(f"{name}: {value}" for name, value in what.items()))
    print(f"load average {load:.1f} on {os.cpu_count()} processors")
    result = what | {"load": load, "machine": machine(), "rows": ROWS}
    place = ROOT / "target/bench.json"
    place.parent.mkdir(exist_ok=True)
    place.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
