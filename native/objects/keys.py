"""The grammar of keys. Nothing else in the project builds one.

    media    src/<asset>                      what a client uploaded
    outputs  out/<job>/<attempt>/<file>       what one attempt made: a stale worker cannot touch another attempt's result
    both     index/<key>                      the index of the object under that key in the same bucket; it may be lost without harm

Ids are ours and plain ASCII; what a user called a file is data, and travels in the download's Content-Disposition only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from native import errors

# A first letter or digit keeps out "-x", "." and "..", and no part can hold "/", "%", NUL, quotes or anything beyond ASCII.
_PART = r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}"
_FILE = r"[0-9A-Za-z][0-9A-Za-z_-]{0,99}(?:\.[0-9A-Za-z]{1,10})?"
# Ten digits without a leading zero: one attempt has one spelling.
_ATTEMPT = r"[1-9][0-9]{0,9}"

_SOURCE = re.compile(rf"src/(?P<asset>{_PART})")
INDEXES = "index/"
_OUTPUT = re.compile(rf"out/(?P<job>{_PART})/(?P<attempt>{_ATTEMPT})/(?P<file>{_FILE})")


@dataclass(frozen=True)
class Source:
    asset: str


@dataclass(frozen=True)
class Output:
    job: str
    attempt: int
    file: str


def source(asset: str) -> str:
    """Where an uploaded asset lies. Raises NOT_FOUND for an id that cannot be one of ours."""
    return _checked(_SOURCE, f"src/{asset}")


def output(job: str, attempt: int, file: str) -> str:
    """Where one attempt's result lies. Raises NOT_FOUND for an id, attempt or file name that cannot be one of ours."""
    return _checked(_OUTPUT, f"out/{job}/{attempt}/{file}")


def index(key: str) -> str:
    """Where the index of an object lies. Raises NOT_FOUND for a key that is none of ours, or an index's own."""
    parse(key)
    return f"{INDEXES}{key}"


def attempts(job: str) -> str:
    """The prefix of everything that any attempt of a job stored. Raises NOT_FOUND."""
    return output(job, 1, "x").removesuffix("1/x")


def parse(key: str) -> Source | Output:
    """The inverse of `source` and `output`. Raises NOT_FOUND for anything they would not have built."""
    if match := _SOURCE.fullmatch(key):
        return Source(match["asset"])
    if match := _OUTPUT.fullmatch(key):
        return Output(match["job"], int(match["attempt"]), match["file"])
    raise errors.NOT_FOUND()


def _checked(grammar: re.Pattern[str], key: str) -> str:
    if not grammar.fullmatch(key):
        raise errors.NOT_FOUND()
    return key
