"""Images of several requests wait in line for one model, and share its network's calls."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from poised.predict import Failure, Predicted, Predictor
from poised.serve.answers import heatmap_answers, image_answer
from poised.serve.limits import Refused
from poised.serve.metrics import Metrics

MOST = 32  # images taken at once: later ones' first answers wait for no more than these


@dataclass(eq=False)
class Job:
    """An image to be estimated. answer: as `answers.Image`, or Refused; cancel it to give it up."""

    name: str
    image: bytes
    heatmaps: bool = False
    answer: Future[dict[str, Any]] = field(default_factory=Future)


class Line:
    """A model's thread, which takes all that waits, up to MOST, and walks it as one stream.

    What comes meanwhile is taken together the next time. `close` ends it when all is done.
    """

    def __init__(self, name: str, predictor: Predictor, metrics: Metrics) -> None:
        self.name, self.predictor, self.metrics = name, predictor, metrics
        self.waiting: SimpleQueue[Job | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._work, name=f"poised-{name}", daemon=True)
        self.thread.start()

    def put(self, job: Job) -> None:
        self.waiting.put(job)

    def close(self) -> None:
        self.waiting.put(None)
        self.thread.join()

    def _work(self) -> None:
        job: Job | None = self.waiting.get()
        while job is not None:
            jobs = [job]
            try:
                while len(jobs) < MOST and (job := self.waiting.get_nowait()) is not None:
                    jobs.append(job)
            except Empty:
                pass
            self._take(jobs)
            if job is not None:
                job = self.waiting.get()

    def _take(self, jobs: list[Job]) -> None:
        wanted = [job for job in jobs if job.answer.set_running_or_notify_cancel()]
        self.metrics.dropped.labels(self.name).inc(len(jobs) - len(wanted))
        if wanted:
            self.metrics.together.labels(self.name).observe(len(wanted))
            self._estimate(wanted)

    def _estimate(self, jobs: list[Job]) -> None:
        """Answer them all, in their order."""
        left = list(reversed(jobs))
        try:
            for found in self.predictor.stream([job.image for job in jobs]):
                self._answer(left[-1], found)
                left.pop()
        except Exception as error:
            if len(jobs) == 1:
                jobs[0].answer.set_exception(error)
                return
            for job in reversed(left):  # whose fault it is shows when each has its own stream
                self._estimate([job])

    def _answer(self, job: Job, found: Predicted | Failure) -> None:
        if isinstance(found, Failure):
            job.answer.set_exception(Refused(422, f"{job.name}: {found.reason}"))
            return
        answer = image_answer(job.name, found.poses)
        if job.heatmaps:
            maps = heatmap_answers(self.predictor, found)
            for person, of_person in zip(answer["people"], maps, strict=True):
                person["heatmaps"] = of_person
        self.metrics.images.labels(self.name).inc()
        self.metrics.people.labels(self.name).inc(len(found.poses))
        job.answer.set_result(answer)
