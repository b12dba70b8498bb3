"""Standard output and errors, whose reader may leave before all is said (``| head``).

Owns how that is told from any other pipe that breaks, which a command has to answer for. Knows nothing of what is written.
"""

from __future__ import annotations

import os
import select
import sys


def reader_left(error: BaseException) -> bool:
    """Whether ``error`` says that somebody who read along has left. What is written from here on goes nowhere, also at the end of the interpreter."""
    if isinstance(error, SystemExit):  # the library that prints the help has seen to that, and would end the process
        return isinstance(error.__context__, BrokenPipeError)
    if not isinstance(error, BrokenPipeError):
        return False
    left = [stream.fileno() for stream in (sys.stdout, sys.stderr) if _is_broken(stream.fileno())]
    if left:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for handle in left:
            os.dup2(nowhere, handle)
        os.close(nowhere)
    return bool(left)


def _is_broken(handle: int) -> bool:
    poll = select.poll()
    poll.register(handle, 0)  # a broken pipe is reported unasked
    return any(event & select.POLLERR for _, event in poll.poll(0))
