"""What the server counts for Prometheus: numbers and times, never what was said, and no label that a caller chooses."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.process_collector import ProcessCollector
from starlette.types import Scope

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.requests = self._counter("requests", "requests answered", ["method", "route", "status"])
        self.request_seconds = self._histogram("request_seconds", "until the answer was whole", ["route"])
        self.replies = self._counter("replies", "replies, by how they ended", ["ended"])
        self.tokens = self._counter("tokens", "of prompts that were read, were kept from before, or written", ["kind"])
        self.first_piece_seconds = self._histogram("first_piece_seconds", "from request to a reply's first words", [])
        self.running = self._gauge("replies_running", "replies being written")
        self.waiting = self._gauge("replies_waiting", "replies that wait for a slot")
        self.conversations = self._gauge("conversations_open", "conversations kept open between requests")

    def _counter(self, name: str, text: str, labels: list[str]) -> Counter:
        return Counter(f"gistchat_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, labels: list[str]) -> Histogram:
        return Histogram(f"gistchat_{name}", text, labels, registry=self.registry, buckets=SECONDS)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"gistchat_{name}", text, registry=self.registry)

    def note_request(self, scope: Scope, status: int, begun: float) -> None:
        """A request was answered. `begun`: by `time.perf_counter()`."""
        route = getattr(scope.get("route"), "path", "other")  # as it is written in the code, not as it was asked for
        method = scope["method"] if scope["method"] in METHODS else "other"
        self.requests.labels(method, route, str(status)).inc()
        self.request_seconds.labels(route).observe(time.perf_counter() - begun)

    def note_tokens(self, prompt: int, cached: int, written: int) -> None:
        for kind, count in (("read", prompt - cached), ("kept", cached), ("written", written)):
            self.tokens.labels(kind).inc(max(count, 0))
