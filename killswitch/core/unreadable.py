"""Why a JSON document could not be read, or may not be believed, in words for whoever wrote it.

Owns the words where a decoder's own would mislead: it calls half of a character, an empty file and a byte order mark all malformed or cut short. And
what a decoder passes over in silence: a key that stands twice in one object, of which it takes the last, and a person may have read the first.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def why(content: bytes, error: Exception) -> str:
    """What is wrong with ``content``, for which a decoder raised ``error``. Total."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if not content.strip():
        return "empty"
    if content.startswith(BYTE_ORDER_MARK):
        return "it begins with a byte order mark, which JSON does not have"
    try:
        json.dumps(json.loads(content), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "there is half of a character in it (a lone surrogate such as \\ud800)"
    except (ValueError, RecursionError):
        pass  # the decoder's own word stands
    return str(error)


def repeated(content: bytes) -> list[str]:
    """The keys that stand more than once in one object of a document, each as ``field: problem``. Total: what is no JSON repeats nothing."""
    try:
        return list(_repeated(json.loads(content, object_pairs_hook=_Pairs)))
    except (ValueError, RecursionError):
        return []


class _Pairs(list[tuple[str, Any]]):
    """An object of JSON with all that stands in it, keys that stand twice included."""


def _repeated(value: Any, field: str = "") -> Iterator[str]:
    if isinstance(value, _Pairs):
        for key, times in Counter(key for key, _ in value).items():
            if times > 1:
                yield f"{field}{key}: stands there {times} times; keep one of them"
        for key, below in value:
            yield from _repeated(below, f"{field}{key}.")
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _repeated(below, f"{field.removesuffix('.')}[{number}].")
