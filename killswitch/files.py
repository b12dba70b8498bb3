"""Reading a file that a stranger handed over: it may be a pipe that never ends, or larger than memory.

Owns that nobody waits for one of those. Knows nothing of what is in it.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

FILE_BYTES_MAX: Final = 1 << 30


def content(file: Path, most: int = FILE_BYTES_MAX) -> bytes:
    """All of a regular file of at most `FILE_BYTES_MAX`, or its first ``most`` bytes. Raises `OSError` for everything else, at once."""
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # else a pipe that nobody writes to would be waited for
    with os.fdopen(handle, "rb") as opened:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(file))
        if found.st_size > FILE_BYTES_MAX:
            raise OSError(errno.EFBIG, f"larger than {FILE_BYTES_MAX >> 20} MiB", str(file))
        return opened.read(most)
