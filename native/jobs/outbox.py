"""What the world is to be told about ends of jobs: written with the end itself, told at least once, dropped later."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from native.jobs.database import Database
from native.jobs.store import State

# Long enough to call a receiver that is slow, short enough that a teller's death is soon made good.
HOLD_SECONDS = 60.0
BACKOFF_SECONDS = 5.0
# A week of failed tries is enough of an answer; what was told is kept a day to look at.
TOLD_SECONDS = 24 * 3600.0
UNTOLD_SECONDS = 7 * 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Note:
    #: <job>:<state>; receivers drop an id they have seen
    id: str
    job: str
    owner: str
    state: State
    #: this one included
    tries: int
    created_at: datetime.datetime

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Note:
        return cls(**{name: row[name] for name in cls.__dataclass_fields__} | {"job": str(row["job"]), "state": State(row["state"])})


class Outbox:
    """Any number of tellers may work at once. All methods raise DATABASE_UNAVAILABLE."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def take(self, limit: int = 20) -> list[Note]:
        """Notes to tell now. Each is nobody else's for a minute; `told` or `untold` must follow, else it comes again."""
        rows = self._database.rows("due_notes", {"limit": limit, "hold_seconds": HOLD_SECONDS})
        return [Note.from_row(row) for row in rows]

    def told(self, note: Note) -> None:
        self._database.rows("note_told", {"id": note.id})

    def untold(self, note: Note, problem: str) -> None:
        """It could not be told: comes again after a back-off that doubles, for a week."""
        self._database.rows("note_untold", {"id": note.id, "problem": problem[:500], "backoff_seconds": BACKOFF_SECONDS})

    def prune(self) -> None:
        """Drop what was told a day ago and what could not be told for a week."""
        self._database.rows("prune_notes", {"told_seconds": TOLD_SECONDS, "untold_seconds": UNTOLD_SECONDS})
