"""The cut engine against its peers, side by side: cuts and merges of H.264 and everything else, from disk and from the S3 store.

./nve bench cut --only across --runs 1      python -m bench.cut --quick --save cut.json
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from bench.race import chart, row, world
from bench.race.result import Outcome, Race
from bench.race.row import Row
from bench.race.world import World
from bench.rows import codecs, merges, segments, stored, trims
from bench.table import machine

ROOT = Path(__file__).parents[1]
RUNS = 3
ROWS: dict[str, Callable[[World], Row]] = {**trims.ROWS, **stored.ROWS, **segments.ROWS, **merges.ROWS, **codecs.ROWS}


def main() -> int:
    given = _arguments()
    began = time.monotonic()
    given.data.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        objects = stack.enter_context(world.objects(given.data / "store"))
        here = World(given.data, given.quick, _say, objects)
        outcomes: list[Outcome] = []
        race = Race(machine(), os.getloadavg()[0], time.strftime("%Y-%m-%d"), given.quick, given.runs, here.packages.versions())
        for name in given.only or ROWS:
            outcomes.append(row.run(ROWS[name](here), given.runs, given.data, _say, judged=not given.quick))
            print(chart.table(outcomes[-1]), flush=True)
            ran = {outcome.name for outcome in outcomes}
            race = replace(race, outcomes=tuple(outcomes), left_out=tuple(it for it in ROWS if it not in ran))
            if given.save:
                given.save.write_text(json.dumps(race.document(), indent=1) + "\n")
    print(f"\nThe cut engine, {given.runs} runs   ({race.machine}; {time.monotonic() - began:.0f} s)")
    print(chart.summary(race))
    return 0 if all(outcome.holds for outcome in outcomes) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="nve bench cut", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="NAME", help=f"one row, again for more: {', '.join(ROWS)}")
    parser.add_argument("--runs", type=int, default=int(os.environ.get("NVE_BENCH_RUNS", RUNS)), help="how often each contestant runs")
    parser.add_argument(
        "--quick", action="store_true", help="small pictures and short clips: what outputs show is judged, what they cost is not"
    )
    parser.add_argument("--save", type=Path, metavar="FILE", help="store the results as JSON (bench.race.chart draws them)")
    parser.add_argument("--data", type=Path, default=ROOT / ".nve/bench", metavar="DIR", help="where clips, peers and the store are kept")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
