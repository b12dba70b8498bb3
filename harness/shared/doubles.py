"""Two hosts of one name: what a history calls the copy, and who watches it.

Owns that name, and what an observer of the copy knows from the start. Must not know how a driver makes a copy.
"""

from __future__ import annotations

from copy import copy, deepcopy

from harness.shared.observe import Observer

COPY = "~2"  # what the history calls a copy of a node, after the name of the node


def is_copy(node: str) -> bool:
    return node.endswith(COPY)


def watching(node: str, observer: Observer) -> Observer:
    """Who watches a copy of a node from here on, knowing what ``observer`` knows. The history is to call the copy ``node``."""
    twin = copy(observer)
    for name in Observer.__slots__:
        if isinstance(value := getattr(observer, name), list | dict | set):
            setattr(twin, name, deepcopy(value))
    twin.node = node
    return twin
