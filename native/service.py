"""The stores of one function process: Postgres, Redis, S3. Nothing is opened before it is first used."""

from __future__ import annotations

import functools

from native import settings as environment
from native.jobs.assets import Assets
from native.jobs.database import Database
from native.jobs.hints import Hints
from native.jobs.keys import Keys
from native.jobs.lock import Lock
from native.jobs.outbox import Outbox
from native.jobs.progress import Progress
from native.jobs.rate import Rate
from native.jobs.store import Store as Jobs
from native.objects.store import Store as Objects
from native.settings import Settings


class Services:
    """One of each, for all threads."""

    def __init__(self, settings: Settings) -> None:
        database = Database(settings.database_url.get_secret_value())
        hints = Hints(settings.redis_url.get_secret_value())
        self.settings = settings
        self.jobs = Jobs(database, max_lost=settings.max_lost_workers)
        self.assets = Assets(database)
        self.keys = Keys(database)
        self.outbox = Outbox(database)
        self.lock = Lock(hints)
        self.progress = Progress(hints)
        self.rate = Rate(hints, settings.max_accepts_per_minute)
        self.objects = Objects(settings)


@functools.cache
def services() -> Services:
    """This process's. Raises settings.Unset when a setting is missing or wrong."""
    return Services(environment.load())
