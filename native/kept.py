"""Indexes of sources, kept beside them so that the next job need not look for its way again. Best effort: no job fails for want of one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from native import errors, log
from native.media.session import Session
from native.objects.store import Reader

logger = logging.getLogger("kept")

# Of smaller sources an index is made as fast as one is fetched.
WORTH_BYTES = 4 << 20
# Of a merge of hundreds, this many are asked for at once.
AT_ONCE = 8


def indexes(sources: Sequence[Reader]) -> list[bytes | None]:
    """What is kept of each source, for `session.open`."""
    large = [source for source in sources if source.size >= WORTH_BYTES]
    if not large:
        return [None] * len(sources)
    with ThreadPoolExecutor(min(AT_ONCE, len(large)), "kept") as pool:
        return list(pool.map(lambda source: source.kept_index() if source.size >= WORTH_BYTES else None, sources))


def keep(media: Session, sources: Sequence[Reader]) -> None:
    """Store the index that a session has made of its source, while the caller goes on.

    What a worker says may be the lie of a file that took it over, so only a session that saw no other file is believed: what a file says
    of itself harms nobody else.
    """
    if len(sources) != 1 or sources[0].size < WORTH_BYTES:
        return
    try:
        index = media.index(0)
    except errors.Problem as problem:
        log.event(logger, logging.WARNING, "no index of a source", code=problem.code)
        return
    if index is not None:
        threading.Thread(target=_store, args=(sources[0], index), name="kept", daemon=True).start()


def _store(source: Reader, index: bytes) -> None:
    try:
        source.keep_index(index)
    except errors.Problem as problem:
        log.event(logger, logging.WARNING, "an index was not kept", code=problem.code)
