"""What the parts of a cell's file say of each other: names that have to be there, quorums that have to meet, addresses that only one can have.

Owns these rules. Reads the document as it stands in the file, and passes over what has not the shape that it should have: so a slip here is told
together with a slip there. Must not know the file's form (``config``), nor where a part stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from killswitch.core.keys import EVERY_TENANT
from killswitch.live import spiffe
from killswitch.live.meant import meant

Path = tuple[str | int, ...]


class Complaint(NamedTuple):
    """What is wrong at ``path``, in words."""

    path: Path
    words: str


def complaints(document: Mapping[Any, Any]) -> Iterator[Complaint]:
    """Every rule that the document breaks."""
    yield from _quorums(document)
    yield from _sinks(document)
    yield from _tenants(document)
    yield from _addresses(document)


def _quorums(document: Mapping[Any, Any]) -> Iterator[Complaint]:
    n = len({str(name) for name in _parts(document, "replicas")})
    given = {name: document[name] for name in ("kill-quorum", "quorum") if document.get(name) is not None}
    if not all(_is_number(each) for each in given.values()):
        return
    k, q = (given.get(name, n // 2 + 1) for name in ("kill-quorum", "quorum"))
    if n and given and not (1 <= k <= n and 1 <= q <= n and k + q > n and 2 * q > n):
        words = f"with {n} replicas, k + q > {n} and 2 q > {n} have to hold (got k = {k}, q = {q}); leave both quorums out for majorities"
        yield Complaint((next(iter(given)),), words)


def _sinks(document: Mapping[Any, Any]) -> Iterator[Complaint]:
    for tenant, part in _parts(document, "tenants").items():
        own = {str(name) for name in _parts(part, "sinks")}
        for agent, each in _parts(part, "agents").items():
            for number, sink in _listed(each, "sinks"):
                if sink not in own:
                    path = ("tenants", tenant, "agents", agent, "sinks", number)
                    yield Complaint(path, f"no such sink of {tenant} (got {sink!r}); {meant(sink, own)}")


def _tenants(document: Mapping[Any, Any]) -> Iterator[Complaint]:
    tenants = {str(name): name for name in _parts(document, "tenants")}
    if spiffe.SYSTEM in tenants:
        yield Complaint(("tenants", tenants[spiffe.SYSTEM]), f"{spiffe.SYSTEM} is the name of the cell's own part; take another")
    for person, part in _parts(document, "people").items():
        for number, name in _listed(part, "tenants"):
            if name not in (*tenants, EVERY_TENANT):
                yield Complaint(("people", person, "tenants", number), f"no such tenant (got {name!r}); {meant(name, tenants)}")


def _addresses(document: Mapping[Any, Any]) -> Iterator[Complaint]:
    """Whoever comes second finds the port taken when it starts, and says no word of the first."""
    first: dict[str, str] = {}
    for path, address in _listening(document):
        field = ".".join(map(str, path))
        if first.setdefault(address, field) != field:
            yield Complaint(path, f"{first[address]} listens there already (got {address!r}); give each a port of its own")


def _listening(document: Mapping[Any, Any]) -> Iterator[tuple[Path, str]]:
    places: list[tuple[Path, Any]] = [(("replicas", name), part) for name, part in _parts(document, "replicas").items()]
    for tenant, part in _parts(document, "tenants").items():
        places += [(("tenants", tenant, "sinks", name), sink) for name, sink in _parts(part, "sinks").items()]
    for path, part in places:
        if isinstance(part, Mapping):
            yield from (((*path, end), part[end]) for end in ("listen", "api") if isinstance(part.get(end), str))


def _parts(document: Any, key: str) -> Mapping[Any, Any]:
    part = document.get(key) if isinstance(document, Mapping) else None
    return part if isinstance(part, Mapping) else {}


def _listed(document: Any, key: str) -> Iterator[tuple[int, str]]:
    """(place, name) of each name in a list, as far as it is one."""
    part = document.get(key) if isinstance(document, Mapping) else None
    for place, each in enumerate(part if isinstance(part, list) else ()):
        if isinstance(each, str) or _is_number(each):
            yield place, str(each)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
