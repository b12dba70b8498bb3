"""Whether the facts that a scenario waits for, or demands, can occur in it: who and what they name has to be there.

Owns the check of names against topology and timeline. Values that are the same in every scenario (modes, stages) are ``triggers``'s; here is what one
scenario has and another has not. A name that nobody bears would otherwise be waited for in vain, and the rest of the file with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from scenarios import derive
from scenarios.document import Complaint, Steps
from scenarios.model import Scenario
from scenarios.problems import known_or_meant
from scenarios.targets import Roster
from scenarios.triggers import FactMatch

NODE_PATTERN = r"(replica|sidecar|agent|sink)/.*"
BESIDE = ("operator", "world")  # where facts occur that are no node's of the topology
COPY = "~2"  # after a node's name: the copy of its host
LATER_KEY = "#2"  # after a node's name, where it stands for a key: the one that a rotation gave


def complaints(scenario: Scenario, match: FactMatch, at: Steps, roster: Roster, *, timeline_is_sure: bool) -> Iterator[Complaint]:
    """What ``match`` names and this scenario has not. ``timeline_is_sure``: all entries of the file are known."""
    for field, value in match.where:
        found = _known(scenario, match.kind, field, value, roster, timeline_is_sure=timeline_is_sure)
        if found is not None and _bearer(field, str(value)) not in found[1]:
            what, known = found
            yield Complaint(at, f"no such {what} as {str(value)!r}", known_or_meant(value, known), repr(str(match)))


def _bearer(field: str, name: str) -> str:
    """Who has to be there for that to be a name: of a copy its original, of a later key whose it is."""
    if not re.fullmatch(NODE_PATTERN, name):
        return name
    return name.removesuffix(COPY) if field == "node" else name.removesuffix(COPY).removesuffix(LATER_KEY)


def _known(scenario: Scenario, kind: str, field: str, value: object, roster: Roster, *, timeline_is_sure: bool) -> tuple[str, Sequence[str]] | None:
    """What is named, and all that there are of it; None if any value may be right."""
    if field == "node":
        return "node", (*roster.nodes, *BESIDE)
    if field == "agent":
        return "agent", [node.removeprefix("agent/") for node in roster.agents]
    if field == "tenant":
        return "tenant", list(scenario.topology.tenants)
    if field == "sink":
        return "sink", roster.sinks
    if isinstance(value, str) and re.fullmatch(NODE_PATTERN, value):
        return "node", roster.nodes
    if field == "operation" or (field == "fault" and kind.startswith("fault-")):
        drawn = isinstance(value, str) and value.startswith("swarm-")
        return ("entry", derive.entry_ids(scenario.timeline)) if timeline_is_sure and not drawn else None
    return None
