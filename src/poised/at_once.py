"""Work on several cores at once: its results in order, its backlog bounded."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def cores() -> int:
    """How many this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Here(Executor):
    """Carries work out where it is handed in, before the next."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


@contextmanager
def workers(count: int) -> Iterator[Executor]:
    """Threads for as many cores, for work that leaves Python's lock (engines, OpenCV, decoders).

    Of one core, this one. Else one more than cores, which has work for a core whose thread hands
    its own over to an engine's, or back. At the end what was not begun is dropped, and what was is
    waited for.
    """
    if count == 1:
        yield _Here()
        return
    pool = ThreadPoolExecutor(count + 1, thread_name_prefix="poised")
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: Executor, work: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """work(item) of each item, in the items' order; `ahead` of them at most wait to be taken.

    The items are drawn by the caller's thread. An error of the work is raised in its place.
    """
    begun: deque[Future[Result]] = deque()
    for item in items:
        begun.append(pool.submit(work, item))
        if len(begun) > ahead:
            yield begun.popleft().result()
    while begun:
        yield begun.popleft().result()


def in_batches(
    pool: Executor,
    work: Callable[[list[tuple[Item, int]]], None],
    items: Iterable[Item],
    parts: Callable[[Item], int],
    size: int,
    ahead: int,
    apart: int | None = None,
) -> Iterator[Item]:
    """The items in their order, each when `work` was done for all its parts.

    Parts of several items share a batch, [(item, part), ...], of `size`; it is begun with fewer at
    the end, after each `apart` items, or when `size` more items came without filling it. `ahead`
    batches at most are under way. Who shares a batch depends on the items alone, not on when they
    come.
    """
    waiting: deque[tuple[Item, list[Future[None]]]] = deque()  # with the batches of its parts
    loose: list[tuple[Item, int, list[Future[None]]]] = []  # in no batch yet
    under_way: deque[Future[None]] = deque()
    since = 0  # items that came since the first of `loose` waits for a batch

    def begin() -> None:
        if len(under_way) >= ahead:
            under_way.popleft().result()
        under_way.append(pool.submit(work, [(item, part) for item, part, _ in loose[:size]]))
        for _, _, batches in loose[:size]:
            batches.append(under_way[-1])
        del loose[:size]

    for number, item in enumerate(items, 1):
        waiting.append((item, []))
        loose.extend((item, part, waiting[-1][1]) for part in range(parts(item)))
        while len(loose) >= size:
            begin()
            since = 0
        since = since + 1 if loose else 0
        if since > size or (loose and apart is not None and number % apart == 0):
            begin()
            since = 0
        behind = loose[0][2] if loose else None
        while waiting and waiting[0][1] is not behind and all(b.done() for b in waiting[0][1]):
            yield _done(waiting.popleft())
    if loose:
        begin()
    while waiting:
        yield _done(waiting.popleft())


def _done(entry: tuple[Item, list[Future[None]]]) -> Item:
    """The item, when its batches are done; an error of theirs is raised."""
    item, batches = entry
    for batch in batches:
        batch.result()
    return item
