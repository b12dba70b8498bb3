"""How a command is ended from outside: Ctrl-C raises KeyboardInterrupt, SIGTERM raises `Terminated`, and either way there is time to clean up.

Owns the turning of SIGTERM into an exception. Knows nothing of what is interrupted.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class Terminated(BaseException):
    """SIGTERM came: clean up, and leave with 143."""


@contextlib.contextmanager
def sigterm_raises() -> Iterator[None]:
    """SIGTERM ends a run as Ctrl-C does. Only the main thread may say so; in another, whoever owns that thread sees to it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = threading.Event()

    def interrupt(_number: int, _frame: object) -> None:
        came.set()
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, interrupt)
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN  # as a script's background job does; SIGTERM would then end nothing
    if ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        if came.is_set():
            raise Terminated from None
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def sigterm_raises_at_once() -> Iterator[None]:
    """The same for code that runs no event loop: `Terminated` comes up wherever the main thread is."""

    def end(_number: int, _frame: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
