"""Why a JSON document could not be read, in words for whoever wrote it.

Owns the words where a decoder's own would mislead: it calls half of a character, an empty file and a byte order mark all malformed or cut short.
"""

from __future__ import annotations

import json

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
