"""What must hold after every fault, whatever it was (I1-I7, I8 when the sink's log is given, I9), as far as tables and the store show it.

assert check(dsn, objects=listing, processes=workers) == []
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from native.jobs import sql

QUERIES = sql.parse(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))

# The state that each transition starts from and ends in; None is "no row yet".
TRANSITIONS: dict[str, tuple[str | None, str]] = {
    "accepted": (None, "queued"),
    "claimed": ("queued", "running"),
    "released": ("running", "queued"),
    "retried": ("running", "queued"),
    "lost": ("running", "queued"),
    "cancel_requested": ("running", "running"),
    "succeeded": ("running", "succeeded"),
    "failed": ("running", "failed"),
    "abandoned": ("running", "failed"),
    "cancelled": ("running", "cancelled"),
    "withdrawn": ("queued", "cancelled"),
}

# The grammar of result keys: out/<job>/<attempt>/<file>
_RESULT = re.compile(r"(?:^|/)(?P<job>[0-9a-f-]{36})/(?P<attempt>[0-9]+)/[^/]+$")


@dataclass(frozen=True, kw_only=True)
class Object:
    """An object as the store lists it."""

    bucket: str
    key: str
    size: int
    #: seconds since it was written
    age: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process that works, or worked, for an attempt."""

    pid: int
    job: str
    attempt: int


@dataclass(frozen=True, order=True)
class Violation:
    #: I1 … I9
    invariant: str
    #: the job's id, or what else it is about
    subject: str
    what: str

    def __str__(self) -> str:
        return f"{self.invariant}: {self.subject} {self.what}"


def check(
    dsn: str,
    *,
    objects: Callable[[], Iterable[Object]] | None = None,
    sha256: Callable[[str, str], str] | None = None,
    processes: Callable[[], Iterable[Process]] | None = None,
    promised: Iterable[str] = (),
    keyed: Iterable[tuple[str, str, str]] = (),
    told: Iterable[str] | None = None,
    settled: bool = True,
    collected: bool = False,
    max_waste: float | None = None,
) -> list[Violation]:
    """All violations, sorted.

    objects     lists every object of both buckets; sha256(bucket, key) reads one and hashes it
    processes   the worker processes there are now
    promised    the job ids that clients were given with 200 or 202
    keyed       (owner, idempotency key, job id) of every answer that clients got
    told        the ids of the notes that the sink received
    settled     no job should be waiting or running any more; False while the storm goes on
    collected   the sweep has run: an object that is nobody's is a violation, otherwise it only may not look like a result
    max_waste   the most of all attempts' seconds that may have been spent on attempts that were lost, 0 … 1
    """
    connect = psycopg.Connection[DictRow].connect
    with connect(dsn, row_factory=dict_row, autocommit=True, application_name="nve-invariants") as conn:
        # One snapshot for all statements, so that a check during a storm sees one moment.
        conn.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        conn.read_only = True
        with conn.transaction():
            params = {"promised": list(promised), "told": list(told) if told is not None else []}
            ask = _asking(conn, params)
            found = [*ask("I1", "promised"), *ask("I1", "ends"), *ask("I2", "results"), *ask("I6", "notes"), *ask("I9", "keyed")]
            found += ask("I1", "unfinished") if settled else []
            found += ask("I8", "told") if told is not None else []
            found += [v for row in _rows(conn, "histories") for v in _history(row)]
            found += _waste(_rows(conn, "spent")[0], max_waste)
            recorded, live = _rows(conn, "recorded"), {(row["job"], row["attempt"]) for row in _rows(conn, "live")}
    found += _answers(keyed)
    if objects is not None:
        listed = {(it.bucket, it.key): it for it in objects()}
        found += _objects(listed, recorded, sha256)
        found += _garbage(listed, recorded, live) if collected else []
    if processes is not None:
        found += _processes(processes(), live)
    return sorted(set(found))


def _rows(conn: psycopg.Connection[DictRow], name: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    return conn.execute(QUERIES[name], params or {}).fetchall()


def _asking(conn: psycopg.Connection[DictRow], params: Mapping[str, Any]) -> Callable[[str, str], list[Violation]]:
    return lambda invariant, name: [Violation(invariant, row["job"], row["what"]) for row in _rows(conn, name, params)]


def _history(row: dict[str, Any]) -> Iterable[Violation]:
    """I5: replay the events: only allowed transitions, attempts that grow by one with each claim and belong to the one who has it."""
    state, attempt = None, 0
    lost = failures = 0
    for transition, number in zip(row["transitions"], row["attempts"], strict=True):
        if transition is None:  # the outer join's empty history
            break
        before, after = TRANSITIONS[transition]
        attempt += transition == "claimed"
        if before != state:
            yield Violation("I5", row["job"], f"was {state} and then {transition}")
        if number != attempt:
            yield Violation("I5", row["job"], f"{transition} under attempt {number} when attempt {attempt} was the newest")
            attempt = number
        state = after
        lost += transition in ("lost", "abandoned")
        failures += transition == "retried"
    if state != row["state"]:
        yield Violation("I5", row["job"], f"is {row['state']} and its events end in {state}")
    if attempt != row["attempt"]:
        yield Violation("I5", row["job"], f"has attempt {row['attempt']} and its events count {attempt}")
    if row["lost"] < lost or row["failures"] < failures:
        yield Violation("I5", row["job"], f"counts {row['lost']} losses and {row['failures']} failures; its events {lost} and {failures}")


def _waste(row: dict[str, Any], most: float | None) -> Iterable[Violation]:
    if most is not None and row["wasted"] > most * row["spent"]:
        yield Violation("I7", "attempts", f"wasted {row['wasted']:.1f} s of {row['spent']:.1f} s, more than {most:.0%}")


def _answers(keyed: Iterable[tuple[str, str, str]]) -> Iterable[Violation]:
    """I9: however often a client asked with one key, it was told one job."""
    jobs: dict[tuple[str, str], set[str]] = defaultdict(set)
    for owner, key, job in keyed:
        jobs[owner, key].add(job)
    for (_, key), ids in jobs.items():
        if len(ids) > 1:
            yield Violation("I9", key, f"was answered with {len(ids)} jobs: {', '.join(sorted(ids))}")


def _objects(
    listed: Mapping[tuple[str, str], Object], recorded: Iterable[dict[str, Any]], sha256: Callable[[str, str], str] | None
) -> Iterable[Violation]:
    """I2: what is recorded is there, whole and unchanged."""
    for row in recorded:
        subject, there = row["job"] or row["key"], listed.get((row["bucket"], row["key"]))
        if there is None:
            # an empty upload may be an object or none; a result is never empty
            if row["job"] or row["size"]:
                yield Violation("I2", subject, f"is recorded and its object {row['key']} is missing")
        elif there.size != row["size"]:
            yield Violation("I2", subject, f"is recorded with {row['size']} bytes and {row['key']} has {there.size}")
        elif sha256 is not None and row["sha256"] and sha256(row["bucket"], row["key"]) != row["sha256"]:
            yield Violation("I2", subject, f"is recorded with another SHA-256 than {row['key']} has")


def _garbage(
    listed: Mapping[tuple[str, str], Object], recorded: Iterable[dict[str, Any]], live: set[tuple[str, int]]
) -> Iterable[Violation]:
    """I4: after the sweep the store has nothing that is nobody's.

    What a living attempt is about to record is somebody's; so is the index of what is.
    """
    known = {(row["bucket"], row["key"]) for row in recorded}
    for (bucket, key), it in listed.items():
        named = _RESULT.search(key)
        if (bucket, key.removeprefix("index/")) not in known and not (named and (named["job"], int(named["attempt"])) in live):
            yield Violation("I4", key, f"is nobody's, {it.size} bytes, {it.age:.0f} s old")


def _processes(processes: Iterable[Process], live: set[tuple[str, int]]) -> Iterable[Violation]:
    for process in processes:
        if (process.job, process.attempt) not in live:
            yield Violation("I4", process.job, f"has process {process.pid} for attempt {process.attempt}, which has no lease")
