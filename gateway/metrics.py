"""The gateway's metrics under OpenFaaS's own names, so that its dashboards work, plus what it does not tell.

Calls carry `function_name` as OpenFaaS writes it, e.g. `trim.openfaas-fn`. An asynchronous call counts twice there and
here: as 202 when it is taken, with the function's own code when it is delivered. Only functions that exist become labels.
"""

from __future__ import annotations

import platform

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

import gateway

CONTENT_TYPE = CONTENT_TYPE_LATEST

# OpenFaaS's buckets end at 10 s; an encode may take an hour.
BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600)


def label(function: str) -> str:
    return f"{function}.openfaas-fn"


class Metrics:
    def __init__(self) -> None:
        disable_created_metrics()  # a second series for each, that nobody reads
        self._registry = registry = CollectorRegistry()
        function, call = ["function_name"], ["function_name", "code"]
        self._total = Counter("gateway_function_invocation_total", "Calls answered", call, registry=registry)
        # A counter, but OpenFaaS's name for it lacks the _total that this library gives every counter.
        self._started = Gauge("gateway_function_invocation_started", "Calls begun", function, registry=registry)
        self._seconds = Histogram("gateway_functions_seconds", "From call to last byte", call, buckets=BUCKETS, registry=registry)
        self.service_count = Gauge("gateway_service_count", "Ready replicas", function, registry=registry)
        self.inflight = Gauge("gateway_functions_in_flight", "Calls in a replica", function, registry=registry)
        self.waiting = Gauge("gateway_functions_waiting", "Calls that wait for a place in a replica", function, registry=registry)
        self.replicas = Gauge("gateway_replicas", "Processes by state", ["function_name", "state"], registry=registry)
        self._cold = Histogram(
            "gateway_cold_start_seconds", "From start to ready", function, buckets=(0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 20), registry=registry
        )
        self.queue_depth = Gauge("gateway_queue_depth", "Messages waiting or being delivered", function, registry=registry)
        self.queue_oldest = Gauge("gateway_queue_oldest_seconds", "Age of the oldest message", function, registry=registry)
        self.queue_pending = Gauge("gateway_queue_pending", "Messages being delivered", function, registry=registry)
        self.dead_letters = Gauge("gateway_queue_dead_letters", "Messages given up", function, registry=registry)
        self.retries = Counter("gateway_queue_retries", "Deliveries to be repeated", function, registry=registry)
        self.callbacks = Counter("gateway_callbacks", "Results posted to X-Callback-Url", ["outcome"], registry=registry)
        self.redis_up = Gauge("gateway_redis_up", "Does Redis answer", registry=registry)
        self.sockets = Gauge("gateway_websockets", "Open websockets", registry=registry)
        info = Gauge("gateway_build_info", "Versions", ["version", "python"], registry=registry)
        info.labels(gateway.VERSION, platform.python_version()).set(1)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self._answered: dict[str, int] = {}

    def started(self, function: str) -> None:
        self._started.labels(label(function)).inc()

    def finished(self, function: str, code: int, seconds: float) -> None:
        self._total.labels(label(function), str(code)).inc()
        self._seconds.labels(label(function), str(code)).observe(seconds)
        self._answered[function] = self._answered.get(function, 0) + 1

    def cold_start(self, function: str, seconds: float) -> None:
        self._cold.labels(label(function)).observe(seconds)

    def answered(self, function: str) -> int:
        """How many calls of this function have ended since the gateway started."""
        return self._answered.get(function, 0)

    def text(self) -> bytes:
        return generate_latest(self._registry)
