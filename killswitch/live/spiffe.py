"""Names of nodes as SPIFFE ids, and back (protocol 3.2).

Owns the one mapping between the node ids that the core knows and the URIs that certificates carry. Must not know certificates.

    replica/1             spiffe://DOMAIN/tenant/system/cp/1
    operator/alice        spiffe://DOMAIN/tenant/system/operator/alice
    sidecar/acme/1        spiffe://DOMAIN/tenant/acme/sidecar/1        likewise agent and sink

The mapping is one to one, so that who was proven is exactly who is meant. A person is in no tenant: for which tenants she may speak is
authority, which the keyset gives and takes, and not identity, which a certificate fixes for its lifetime.
"""

from __future__ import annotations

import re
from typing import Final

SYSTEM: Final = "system"  # what belongs to the cell as a whole; no tenant may be called so
CELL_KINDS: Final = {"replica": "cp", "operator": "operator"}
TENANT_KINDS: Final = ("sidecar", "agent", "sink")
WORD: Final = re.compile(r"[a-zA-Z0-9._-]{1,64}")
DOMAIN: Final = re.compile(r"[a-z0-9._-]{1,255}")


def spiffe_id(domain: str, node: str) -> str:
    """The SPIFFE id of ``node``. Raises `ValueError` for what is no name of a node."""
    kind, *rest = node.split("/")
    if kind == "operator" and not rest:  # a client that acts for several people, each of whom signs
        return f"spiffe://{domain}/tenant/{SYSTEM}/operator"
    if kind in CELL_KINDS and len(rest) == 1 and _are_words(*rest):
        return f"spiffe://{domain}/tenant/{SYSTEM}/{CELL_KINDS[kind]}/{rest[0]}"
    if kind in TENANT_KINDS and len(rest) == 2 and _are_words(*rest) and rest[0] != SYSTEM:
        return f"spiffe://{domain}/tenant/{rest[0]}/{kind}/{rest[1]}"
    raise ValueError(f"no name of a node (got {node!r}); one is replica/N, operator/NAME, or sidecar, agent or sink /TENANT/NAME")


def node_of(domain: str, uri: str) -> str:
    """The node that ``uri`` names in ``domain``. Raises `ValueError` for anything that `spiffe_id` does not give."""
    head = f"spiffe://{domain}/tenant/"
    parts = uri.removeprefix(head).split("/")
    node = ""
    if parts[0] == SYSTEM and len(parts) > 1:
        kind = next((kind for kind, word in CELL_KINDS.items() if word == parts[1]), parts[1])
        node = "/".join([kind, *parts[2:]])
    elif len(parts) == 3:
        node = f"{parts[1]}/{parts[0]}/{parts[2]}"
    try:
        if spiffe_id(domain, node) == uri:
            return node
    except ValueError:
        pass
    raise ValueError(f"no SPIFFE id of a node of {domain} (got {uri!r})")


def _are_words(*words: str) -> bool:
    """Of letters, digits, dots, dashes and underscores, and no ``.`` or ``..``, which elsewhere are paths."""
    return all(WORD.fullmatch(word) and word.strip(".") for word in words)
