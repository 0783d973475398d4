"""The three stores of one function process, opened when first needed: Postgres, Redis, S3."""

from __future__ import annotations

import functools
import threading

from native import settings as settings_module
from native.jobs.assets import Assets
from native.jobs.keys import Keys
from native.jobs.lock import Lock
from native.jobs.progress import Progress
from native.jobs.rate import Rate
from native.jobs.store import Store as Jobs
from native.objects.store import Store as Objects
from native.settings import Settings
