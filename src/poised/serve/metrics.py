"""What /metrics tells, in Prometheus's text form. No address, name or picture of a client."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

TOGETHER = (1, 2, 4, 8, 16, 32)  # images
PATHS = ("/", "/healthz", "/metrics", "/openapi.json", "/v1/models", "/v1/predict")


class Metrics:
    """The figures of one server, which is asked for them: it sends nothing itself."""

    def __init__(self) -> None:
        here = self.registry = CollectorRegistry()
        ProcessCollector(registry=here)
        self.requests = Counter(
            "poised_requests", "Answered requests.", ["path", "status"], registry=here
        )
        self.seconds = Histogram(
            "poised_request_seconds",
            "From a request's head to its answer.",
            ["path"],
            registry=here,
        )
        self.under_way = Gauge(
            "poised_requests_under_way", "Requests for poses that hold a place.", registry=here
        )
        self.images = Counter("poised_images", "Images estimated.", ["model"], registry=here)
        self.people = Counter("poised_people", "People found.", ["model"], registry=here)
        self.dropped = Counter(
            "poised_dropped",
            "Images whose client left before their turn.",
            ["model"],
            registry=here,
        )
        self.together = Histogram(
            "poised_images_together",
            "Images, of all requests, that were taken at once.",
            ["model"],
            buckets=TOGETHER,
            registry=here,
        )

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request; what clients make up counts as "other", or there would be no end."""
        known = path if path in PATHS else "/static" if path.startswith("/static/") else "other"
        self.requests.labels(known, str(status)).inc()
        self.seconds.labels(known).observe(seconds)

    def text(self) -> bytes:
        """All of them."""
        return bytes(generate_latest(self.registry))
