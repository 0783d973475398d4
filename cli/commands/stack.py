"""nve up, down, ps, logs, open: the local server."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import DEFAULT_DATA, AsJson, Data
from cli.screen import Screen

if TYPE_CHECKING:
    from deployments.local.home import Home
    from deployments.local.stack import Running, State

PANEL = "Server"


def add(app: typer.Typer) -> None:
    for command in (up, down, ps, logs):
        app.command(rich_help_panel=PANEL)(command)
    app.command(name="open", rich_help_panel=PANEL)(show)


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Come back as soon as it answers, and leave it running.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Where it listens, from now on; 8080 unless that was taken.")] = None,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Start the local server.

    That is Postgres, Valkey, SeaweedFS and the gateway, as processes of yours. Without --detach it runs until Ctrl-C. With DATABASE_URL,
    REDIS_URL or S3_ENDPOINT and its keys set, it uses those servers instead of its own.

    Example: nve up --detach
    """
    from cli.server import Starting
    from deployments.local import stack
    from deployments.local.home import Home

    screen, home = Screen(as_json), Home(data)
    with Starting(screen) as starting:
        running = stack.start(home, detach, starting.hear, port=port)
        starting.over(running.started)
    document = {"url": running.url, "key": running.key, "started": running.started, "data": str(home.path)}
    screen.result(document, lambda: _hello(running, home))
    if not detach and running.started:
        _stay(screen, running)


def down(as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Stop the local server. Media, jobs and keys stay.

    Example: nve down
    """
    from deployments.local import stack
    from deployments.local.home import Home

    stopped = stack.stop(Home(data))
    Screen(as_json).result({"stopped": stopped}, lambda: print("Stopped." if stopped else "It was not running."))


def ps(as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Show the processes of the local server.

    Example: nve ps
    """
    from cli.failure import Unreachable
    from deployments.local import stack
    from deployments.local.home import Home

    screen, home = Screen(as_json), Home(data)
    state = stack.status(home)
    if state is None:
        raise Unreachable(f"No server is running in {home.path}: start it with `nve up`.")
    document = {
        "status": state.status,
        "url": state.url,
        "components": [dataclasses.asdict(each) | {"memory": stack.memory(each)} for each in state.components],
    }
    screen.result(document, lambda: _list(screen, state))


def logs(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One of them: postgres, gateway, trim …; all when left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, max=100_000, help="So many of the last lines of each.")] = 30,
    as_json: AsJson = False,
    data: Data = DEFAULT_DATA,
) -> None:
    """Show what the local server's processes wrote.

    Example: nve logs trim --follow
    """
    from cli.failure import Usage
    from deployments.local import logs as files
    from deployments.local.home import Home

    screen, home = Screen(as_json), Home(data)
    if follow and as_json:
        raise Usage("--follow never ends, so it cannot be one JSON document: leave out one of the two.")
    names = files.names(home)
    if name is not None and name not in names:
        raise Usage(f"There is no log {name}; there are {', '.join(names) or 'none yet'}.", field="name")
    if follow:
        for each, line in files.follow(home, name, lines):
            print(line if name else f"{each:>10} | {line}", flush=True)
    found = [(each, line) for each in ([name] if name else names) for line in files.last(home, each, lines)]
    screen.result(
        {"lines": [{"log": each, "line": line} for each, line in found]},
        lambda: print("\n".join(line if name else f"{each:>10} | {line}" for each, line in found)),
    )


def show(as_json: AsJson = False, data: Data = DEFAULT_DATA) -> None:
    """Open the server's page in a browser.

    Example: nve open
    """
    import webbrowser

    from cli import server

    screen = Screen(as_json)
    with server.connected(screen, data) as client:
        url = client.url
    opened = not as_json and webbrowser.open(url)
    screen.result({"url": url}, lambda: print(url if opened else f"There is no browser here that could be opened: go to {url}"))


def _hello(running: Running, home: Home) -> None:
    print(f"nve is {'up' if running.started else 'already up'} at {running.url}")
    # A key is for its user's eyes, not for the logs that pipes end in.
    print(f"your key  {running.key}" if sys.stdout.isatty() else f"your key is in {home.path / 'secrets/key'}", flush=True)


def _stay(screen: Screen, running: Running) -> None:
    """Until Ctrl-C, or until the server dies. Raises Failure in the second case."""
    from cli.failure import Failure
    from deployments.local import stack

    screen.say("Ctrl-C stops it.")
    try:
        running.wait()
    except KeyboardInterrupt:
        screen.say("Stopping …")
        stack.stop(running.home)
        return
    raise Failure(f"The local server has ended: `nve logs supervisor` says why, in {running.home.path / 'logs'}.", code="ended")


def _list(screen: Screen, state: State) -> None:
    import time

    from cli import figures
    from deployments.local import stack

    rows = []
    for it in state.components:
        held = stack.memory(it)
        rows.append(
            [
                it.name,
                it.status,
                str(it.pid or "–"),
                str(it.port or "–"),
                figures.seconds(time.time() - it.since) if it.since else "–",
                figures.size(held) if held else "–",
                f"{it.restarts} ({it.reason})" if it.restarts else "0",
            ]
        )
    print(f"{state.status} at {state.url}")
    screen.table(["name", "status", "pid", "port", "up for", "memory", "restarts"], rows, right=[2, 3, 4, 5])
