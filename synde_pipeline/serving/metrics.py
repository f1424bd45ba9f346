"""What `/metrics` tells Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        self._requests = Counter(
            "synde_requests", "Requests, by route and status.", ["route", "status"], registry=registry
        )
        self._answers = Counter(
            "synde_answers", "Answers, by the layers that gave them.", ["layers"], registry=registry
        )
        self._tokens = Counter("synde_tokens", "Tokens, by kind.", ["kind"], registry=registry)
        self._seconds = Histogram("synde_answer_seconds", "Time of an answer.", buckets=_SECONDS, registry=registry)
        self._swaps = Counter("synde_champion_swaps", "Changes of what is served.", registry=registry)
        self._labels = Counter("synde_feedback", "Labels, by outcome.", ["outcome"], registry=registry)
        self._landed = Counter("synde_landed_traces", "Traces that went into landing.", registry=registry)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A number that is asked for when it is wanted."""
        Gauge(name, about, registry=self._registry).set_function(value)

    def requested(self, route: str, status: int) -> None:
        """A request was answered, or refused."""
        self._requests.labels(route, str(status)).inc()

    def answered(self, layers: str, tokens: dict[str, int], seconds: float) -> None:
        """An answer was given."""
        self._answers.labels(layers).inc()
        for kind, n in tokens.items():
            self._tokens.labels(kind).inc(n)
        self._seconds.observe(seconds)

    def swapped(self, *, is_swap: bool) -> None:
        """The champion was loaded."""
        if is_swap:
            self._swaps.inc()

    def labelled(self, outcome: str) -> None:
        """Feedback came."""
        self._labels.labels(outcome).inc()

    def landed(self, n: int) -> None:
        """Traces were filed."""
        self._landed.inc(n)

    def text(self) -> bytes:
        """All of it, in Prometheus' format."""
        return generate_latest(self._registry)
