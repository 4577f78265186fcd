"""What the server counts, in the text format of Prometheus: requests, seconds, batches."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30)
SIZES = (1, 2, 4, 8, 16, 32, 64)


class Telemetry:
    """Counters of one server; each has its own registry."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "vitrine_requests", "Requests by path and status", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "vitrine_request_seconds", "Seconds of a request", ["path"], buckets=SECONDS, registry=self._registry
        )
        self._batch = Histogram(
            "vitrine_batch_size", "Queries that were answered together", buckets=SIZES, registry=self._registry
        )
        self._products = Gauge("vitrine_products", "Products of an index", ["model"], registry=self._registry)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request; `path` is that of its route, so that ids in it make no new series."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batch.observe(size)

    def products(self, model: str, count: int) -> None:
        """Set the number of products of a model's index."""
        self._products.labels(model).set(count)

    def text(self) -> bytes:
        """Return all figures in the format of Prometheus."""
        return generate_latest(self._registry)
