"""`python -m gateway`: bind the ports, start everything, stop it on SIGTERM, take a changed stack file on SIGHUP."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from gateway import VERSION
from gateway import settings as gateway_settings
from gateway.app import Gateway, load_functions
from gateway.provider import stackfile
from native import log, settings

logger = logging.getLogger("gateway")

CANNOT_START = 2


class Refusal(Exception):
    """The gateway cannot start. The text is one sentence that says what to do."""


class Server(uvicorn.Server):
    """uvicorn without its signal handlers: `main` decides what stops when."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(bind: str, port: int, variable: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        return socket.create_server((bind, port), family=family, backlog=1024)
    except OSError as exc:
        raise Refusal(
            f"gateway: cannot listen on {bind}:{port} ({os.strerror(exc.errno or 0)}); stop what uses it or set {variable} to another port"
        ) from exc


def server(app: ASGIApp) -> Server:
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        timeout_keep_alive=65,
        ws_max_size=64 << 10,
        http="httptools",
        ws="websockets-sansio",
    )
    return Server(config)


async def serve(gateway: Gateway, public: socket.socket, private: socket.socket) -> None:
    front, back = server(gateway.public()), server(gateway.private())
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked_to_stop() -> None:
        if stop.is_set():
            front.force_exit = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop)
    loop.add_signal_handler(signal.SIGHUP, gateway.reload)
    async with gateway.running(public.getsockname()[1]):
        serving = [asyncio.create_task(front.serve([public])), asyncio.create_task(back.serve([private]))]
        host, port = public.getsockname()[:2]
        log.event(
            logger, logging.INFO, "listening", bind=host, port=port, metrics_port=private.getsockname()[1], version=VERSION, pid=os.getpid()
        )
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({*serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
        began = time.monotonic()
        log.event(logger, logging.INFO, "stopping")
        # No new connections from here on; the functions stop while open connections get their last answers.
        front.should_exit = back.should_exit = True
        await gateway.stop()
        # Who has not read the answer by then, or not yet sent the whole request, has had the time.
        await asyncio.wait(serving, timeout=max(0.0, began + gateway.settings.stop_seconds - time.monotonic()))
        front.force_exit = back.force_exit = True
        await asyncio.gather(*serving)
        log.event(logger, logging.INFO, "stopped", seconds=round(time.monotonic() - began, 2))


def main() -> int:
    try:
        chosen = gateway_settings.load()
        functions = load_functions(chosen)
        public = listen(chosen.bind, chosen.gateway_port, "GATEWAY_PORT")
        private = listen(chosen.bind, chosen.gateway_metrics_port, "GATEWAY_METRICS_PORT")
    except (settings.Unset, stackfile.Malformed, Refusal) as exc:
        print(exc, file=sys.stderr)  # noqa: T201 -- for the person who started it
        return CANNOT_START
    log.setup("gateway")
    for noisy in ("uvicorn.error", "uvicorn", "httpcore"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    # Functions ring /async-function/… here unless the operator says where.
    os.environ.setdefault("GATEWAY_URL", f"http://127.0.0.1:{public.getsockname()[1]}")
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(Gateway(chosen, functions), public, private))
    return 0


if __name__ == "__main__":
    sys.exit(main())
