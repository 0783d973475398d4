"""What is made in the servers before the gateway starts: role, database, tables, buckets, the local user's key.

All of it may be made again without harm.
"""

from __future__ import annotations

import time

from .home import Home
from .postgres import Postgres
from .trouble import Trouble

# A server that answered a moment ago may be starting again.
PATIENCE_SECONDS = 5.0


def database(home: Home, postgres: Postgres | None) -> None:
    """Role, database, tables and the first key; `postgres` is ours, or None for somebody else's. Raises `Trouble`."""
    import psycopg

    from native import errors
    from native.jobs import migrate

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if postgres:
                postgres.create_database()
            migrate.migrate(home.environment()["DATABASE_URL"])
            return _key(home)
        except migrate.Refused as exc:
            raise Trouble(str(exc)) from exc
        except (psycopg.OperationalError, errors.Problem) as exc:
            if time.monotonic() > deadline or not _may_help(exc):
                raise Trouble(_unreachable(home, exc)) from exc
        except psycopg.Error as exc:
            raise Trouble(f"The database cannot be prepared: {_one_line(exc)}.") from exc
        time.sleep(0.2)


def buckets(home: Home) -> None:
    """Both buckets. Raises `Trouble`."""
    import minio.error
    import urllib3.exceptions

    from . import buckets

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return buckets.set_up(home.environment())
        except minio.error.S3Error as exc:
            if exc.code in ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch") or time.monotonic() > deadline:
                raise Trouble(f"The object store refuses to make the buckets ({exc.code}): check S3_ACCESS_KEY and S3_SECRET_KEY.") from exc
        except (minio.error.MinioException, urllib3.exceptions.HTTPError, OSError) as exc:
            if time.monotonic() > deadline:
                at = home.environment()["S3_ENDPOINT"]
                how = "check S3_ENDPOINT, or unset it to use the built-in store" if home.is_external("seaweed") else "see its log"
                raise Trouble(f"The object store at {at} does not answer: {how}.") from exc
        time.sleep(0.2)


def _key(home: Home) -> None:
    """The key of the user of this data directory."""
    from native import errors
    from native.jobs import keys
    from native.jobs.database import Database

    held = Database(home.environment()["DATABASE_URL"])
    try:
        known, token = keys.Keys(held), home.secret_from("key", keys.new_token)
        try:
            known.create("local", "local", token=token)
        except errors.Problem as problem:
            if problem.kind is not errors.CONFLICT:
                raise
            # The file was lost and made anew: what it held opens nothing any more.
            known.revoke("local", "local")
            known.create("local", "local", token=token)
    finally:
        held.close()


def _may_help(exc: Exception) -> bool:
    """Whether waiting may mend it: not when the server answers that it will not have us."""
    return not any(words in str(exc) for words in ("authentication failed", "does not exist", "could not translate host name", "no pg_hba"))


def _unreachable(home: Home, exc: Exception) -> str:
    if home.is_external("postgres"):
        return f"The Postgres that DATABASE_URL names cannot be used ({_one_line(exc)}): check it, or unset it to use the built-in one."
    return f"Postgres does not answer ({_one_line(exc)}): see {home.path / 'logs/postgres.log'}."


def _one_line(exc: Exception) -> str:
    return " ".join(str(exc).split())[:300].rstrip(".")
