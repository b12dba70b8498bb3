"""What somebody may have meant by a name that is not there, in words.

Owns the one form in which names are suggested. Must not know what they are names of.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Final

MOST: Final = 3
NEAR_ENOUGH: Final = 0.7


def meant(word: str, known: Iterable[str]) -> str:
    """The likely ones among ``known``, or else some of those that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, MOST, NEAR_ENOUGH)
    if near:
        return f"did you mean {' or '.join(near)}?"
    more = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return f"there are {', '.join(names[:MOST])}{more}" if names else "there are none"
