"""A thread pool that carries the current span to its tasks."""

from __future__ import annotations

from concurrent import futures
from typing import TYPE_CHECKING

from rvh_trace.threads import wrap

if TYPE_CHECKING:
    from collections.abc import Callable


class ThreadPoolExecutor(futures.ThreadPoolExecutor):
    """A thread pool whose tasks run under the span that was current when they were submitted.

    >>> import rvh_trace
    >>> from rvh_trace.executor import ThreadPoolExecutor
    >>> with rvh_trace.span("batch"), ThreadPoolExecutor(max_workers=2) as pool:
    ...     list(pool.map(str, [1, 2]))
    ['1', '2']
    """

    def submit[**P, R](
        self, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> futures.Future[R]:
        """Submit a call, with the current context."""
        return super().submit(wrap(fn), *args, **kwargs)
