"""nve keys: who may call. Administration goes straight to Postgres, so it needs no key itself."""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DEFAULT_DATA, AsJson, Data
from cli.screen import Screen

if TYPE_CHECKING:
    from native.jobs.keys import Key, Keys


def add(app: typer.Typer) -> None:
    group = typer.Typer(help="Make, list and revoke the keys of callers.", rich_markup_mode=None)
    group.command()(create)
    group.command(name="list")(show)
    group.command()(revoke)
    app.add_typer(group, name="keys", rich_help_panel="Server")


def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.")],
    owner: Annotated[str | None, typer.Option(help="Whose assets and jobs it opens; NAME when left out.")] = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Make a key and print it, this once: only its hash is kept.

    Example: nve keys create laptop --owner anna
    """
    screen = Screen(as_json)
    with _keys(data) as keys:
        token = keys.create(owner or name, name)
    screen.result({"key": token, "name": name, "owner": owner or name}, lambda: print(token))


def show(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """List the keys. What they are cannot be read again.

    Example: nve keys list
    """
    screen = Screen(as_json)
    with _keys(data) as keys:
        found = keys.list(owner)
    rows = [[key.name, key.owner, key.id, _day(key.created_at), _day(key.last_used_at), _state(key)] for key in found]
    screen.result(
        {"keys": [_document(key) for key in found]},
        lambda: screen.table(["name", "owner", "id", "made", "last used", "state"], rows),
    )


def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key's id or name.")],
    owner: Annotated[str | None, typer.Option(help="Whose key it is, where several owners have one of that name.")] = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """End a key, at once and for good.

    Example: nve keys revoke laptop
    """
    from cli.failure import Failure, Usage

    screen = Screen(as_json)
    with _keys(data) as keys:
        owners = {each.owner for each in keys.list(owner) if key in (each.id, each.name) and not each.revoked_at}
        if not owners:
            raise Failure(f"There is no living key {key}: `nve keys list` shows them.", code="not_found")
        if len(owners) > 1:
            raise Usage(f"{key} is a key of {', '.join(sorted(owners))}: say whose with --owner.", field="owner")
        ended = keys.revoke(owners.pop(), key)
    screen.result(_document(ended), lambda: print(f"Revoked {ended.name} of {ended.owner}."))


@contextlib.contextmanager
def _keys(data: Path) -> Iterator[Keys]:
    """The keys in the database that DATABASE_URL names, or the data directory's. Raises Unreachable."""
    from cli.failure import Unreachable
    from deployments.local import stack
    from deployments.local.home import Home
    from native.jobs.database import Database
    from native.jobs.keys import Keys

    url = os.environ.get("DATABASE_URL")
    if not url:
        home = Home(data)
        if not stack.running(home):
            raise Unreachable(f"No server is running in {home.path}: start it with `nve up`, or set DATABASE_URL to its Postgres.")
        url = home.environment()["DATABASE_URL"]
    database = Database(url, name="nve keys", patience_seconds=3)
    try:
        yield Keys(database)
    finally:
        database.close()


def _day(moment: datetime.datetime | None) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment else "–"


def _state(key: Key) -> str:
    return f"revoked {_day(key.revoked_at)}" if key.revoked_at else "living"


def _document(key: Key) -> dict[str, Any]:
    moments = {name: getattr(key, name) for name in ("created_at", "last_used_at", "revoked_at")}
    return {"id": key.id, "name": key.name, "owner": key.owner} | {name: it.isoformat() if it else None for name, it in moments.items()}
