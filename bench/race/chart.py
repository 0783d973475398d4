"""The results for people: a table as text, the page docs/measurements.md, and its drawing.

python -m bench.race.chart RESULTS.json      writes both below docs/
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

from bench.race.result import Entry, Measure, Outcome, Race, load
from bench.race.row import OURS

DOCS = Path(__file__).parents[2] / "docs"
MARKS = {True: "ok", False: "MISSED", None: "–"}


def table(outcome: Outcome) -> str:
    """A row with everything that was measured, as lines of text."""
    lines = [f"\n{outcome.name}: {outcome.title}"]
    lines.append(f"  {'':24} {'wall s':>8} {'CPU s':>8} {'peak MB':>8} {'read MB':>8} {'copied':>7} {'primed':>7} {'encoded':>7}  shows")
    for entry in outcome.entries:
        lines.append(f"  {entry.name:24} " + (entry.failed or " ".join(_cells(entry))))
    lines += _verdicts(outcome)
    warnings = {text for entry in outcome.entries for sample in entry.samples[:1] for text in sample.warnings}
    return "\n".join([*lines, *(f"  warning: {text}" for text in sorted(warnings))])


def _cells(entry: Entry) -> Iterator[str]:
    yield f"{entry.median('wall_seconds'):8.2f}"
    yield f"{entry.median('cpu_seconds'):8.2f}"
    for measure in ("peak_bytes", "read_bytes"):
        value = entry.median(measure)
        yield f"{value / 1e6:8.0f}" if measure == "peak_bytes" and value else f"{value / 1e6:8.1f}" if value is not None else f"{'–':>8}"
    first = entry.samples[0]
    for count in (first.copied_frames, first.primed_frames, first.encoded_frames):
        yield f"{'–' if count is None else count:>7}"
    yield f" {'' if entry.seen is None else ('= ' if entry.seen.right else '≠ ') + entry.seen.words}"


def summary(race: Race) -> str:
    """Every bound in a line."""
    lines = [f"  {'row':9} {'what':58} {'measured':>12}  {'required':>8}"]
    lines += [f"  {outcome.name:9}{line[1:]}" for outcome in race.outcomes for line in _verdicts(outcome)]
    judged = [verdict.holds for outcome in race.outcomes for verdict in outcome.verdicts if verdict.holds is not None]
    return "\n".join([*lines, f"  {sum(judged)} of {len(judged)} hold"])


def _verdicts(outcome: Outcome) -> list[str]:
    # What an output shows is said in its own line, and is long.
    told = [(it, it.words if it.required != "exactly" else "yes" if it.holds else "no") for it in outcome.verdicts]
    return [f"  {it.what:58} {words:>12}  {it.required:>8}  {MARKS[it.holds]}" for it, words in told]


# the page


def page(race: Race) -> str:
    """docs/measurements.md."""
    versions = ", ".join(f"{name} {version}" for name, version in race.versions.items())
    # our worker gives way to everything else (native/media/worker.py), the peers do not
    busy = " **It was busy with other work: the wall times, ours above all, are too long, and those bounds prove nothing.**"
    rounds = f"medians of {race.runs} rounds" if race.runs > 1 else "one round"
    missing = [f"Not run that day: {', '.join(race.left_out)}.", ""] if race.left_out else []
    lines = [
        "# Measurements",
        "",
        f"The cut engine against its peers, side by side, {rounds}. {race.date}, {race.machine}.",
        f"{versions}. Load of the machine when the run began: {race.load:.1f}.{busy if race.load > 1 else ''}",
        "",
        "![The same work, by ours and by the peers](measurements/cut.svg)",
        "",
        "```",
        "./nve bench cut --save cut.json                 the clips are made on the first run; apt install melt for MLT's rows",
        ".venv/bin/python -m bench.race.chart cut.json   writes this page and its drawing",
        "```",
        "",
        "Ours runs as a function does: a process that has started, with a media worker waiting. The time is that of one request, the",
        "processor time that of everything it took, the worker's own start included; what comes from the S3 store goes back to it. The",
        "peers run as their makers run them: a command each time. Memory is that of the largest process. What an output shows is read off",
        "its decoded pictures, each of which carries its number, and its sound is compared with what was made. Slow peers run once.",
        "",
        *missing,
        "| row | bound | measured | required | |",
        "|---|---|---|---|---|",
    ]
    for outcome in race.outcomes:
        for n, it in enumerate(outcome.verdicts):
            title = f"**{outcome.name}**: {outcome.title}" if n == 0 else ""
            lines.append(f"| {title} | {it.what} | {it.words} | {it.required} | {MARKS[it.holds]} |")
    for outcome in race.outcomes:
        lines += ["", f"## {outcome.name}", "", f"{outcome.title}.", ""]
        lines += ["| | wall s | CPU s | peak MB | read MB | copied | primed | encoded | shows |", "|---|---|---|---|---|---|---|---|---|"]
        for entry in outcome.entries:
            cells = [f"*{entry.failed}*", *[""] * 7] if entry.failed else [cell.strip() for cell in _cells(entry)]
            lines.append(f"| {entry.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


# the drawing

WIDTH, LEFT, RIGHT, BAR, GAP, TITLE = 880, 170, 90, 16, 3, 24
STYLE = """
text { font: 12px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }
.title { font-weight: 600 } .quiet { fill: #59636e } .grid { stroke: #d1d9e0 } .ours { fill: #0969da } .peer { fill: #9aa4af }
@media (prefers-color-scheme: dark) {
  text { fill: #f0f6fc } .quiet { fill: #9198a1 } .grid { stroke: #3d444d } .ours { fill: #4493f8 } .peer { fill: #656c76 }
}
"""


def drawing(race: Race) -> str:
    """docs/measurements/cut.svg: a bar per contestant, grouped by row, on one logarithmic axis of seconds."""
    bars = {outcome: _bars(outcome) for outcome in race.outcomes}
    values = [value for them in bars.values() for _, value, _ in them]
    low = math.floor(math.log10(min(values, default=0.1)))
    high = max(low + 1, math.ceil(math.log10(max(values, default=10))))

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(value) - low) / (high - low)

    parts, y = [], 40.0
    for outcome, them in bars.items():
        unit = {"cpu_seconds": "processor seconds", "wall_seconds": "seconds"}.get(outcome.headline, outcome.headline)
        parts.append(f'<text class="title" x="8" y="{y:.0f}">{escape(outcome.title)} <tspan class="quiet">({unit})</tspan></text>')
        y += 8
        for name, value, right in them:
            kind, middle = "ours" if name.startswith(OURS) else "peer", y + BAR - 4
            wrong = "" if right else ' <tspan class="quiet">≠</tspan>'
            width = max(1.0, x(value) - LEFT)
            parts.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect class="{kind}" x="{LEFT}" y="{y:.0f}" width="{width:.1f}" height="{BAR}" rx="2"/>')
            parts.append(f'<text x="{LEFT + width + 6:.1f}" y="{middle:.0f}">{value:.3g}{wrong}</text>')
            y += BAR + GAP
        y += TITLE
    ticks = [10.0**power for power in range(low, high + 1)]
    axis = [f'<line class="grid" x1="{x(it):.1f}" x2="{x(it):.1f}" y1="16" y2="{y - TITLE:.0f}"/>' for it in ticks]
    axis += [f'<text class="quiet" x="{x(it):.1f}" y="12" text-anchor="middle">{it:g} s</text>' for it in ticks]
    note = f'<text class="quiet" x="8" y="{y:.0f}">≠ does not show what was asked for. {escape(race.machine)}, {race.date}.</text>'
    size = f'viewBox="0 0 {WIDTH} {y + 12:.0f}" width="{WIDTH}" height="{y + 12:.0f}"'
    title = "<title>What the same work costs, by ours and by its peers, on a logarithmic axis</title>"
    body = "\n".join([*axis, *parts, note])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">\n{title}\n<style>{STYLE}</style>\n{body}\n</svg>\n'


def _bars(outcome: Outcome) -> list[tuple[str, float, bool]]:
    """(contestant, its median, whether its output is right) of those that have one."""
    measure: Measure = outcome.headline
    found = [(entry.name, entry.median(measure), entry.seen is None or entry.seen.right) for entry in outcome.entries if not entry.failed]
    return [(name, value, right) for name, value, right in found if value]


def main() -> int:
    race = load(json.loads(Path(sys.argv[1]).read_text()))
    (DOCS / "measurements").mkdir(exist_ok=True)
    (DOCS / "measurements.md").write_text(page(race))
    (DOCS / "measurements/cut.svg").write_text(drawing(race))
    return 0


if __name__ == "__main__":
    sys.exit(main())
