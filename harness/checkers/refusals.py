"""What a sink refuses an effect by: a fence above its token, which has to be durable before anybody is told (S11).

Owns which fences each sink holds, and what it found fenced out. Must not know when a word leaves.
"""

from __future__ import annotations

from typing import Final

from harness.checkers.words import NO_TOKEN, Token, token_of
from harness.shared.history import Fact


class Refusals:
    """Shown every fact of ``kinds``."""

    kinds: Final = frozenset({"effect-rejected", "fence-durable"})

    def __init__(self) -> None:
        self._refused: dict[tuple[str, str], tuple[str, Token]] = {}  # sink, key -> whose effect, and the least token under which it came
        self._fences: dict[tuple[str, str], Token] = {}  # sink, agent -> its greatest durable fence

    def see(self, fact: Fact) -> None:
        agent = fact.body["agent"]
        if fact.kind == "fence-durable":
            self._fences[fact.node, agent] = max(token_of(fact.body["min_token"]), self._fences.get((fact.node, agent), NO_TOKEN))
            return
        key, token = (fact.node, fact.body["key"]), token_of(fact.body["token"])
        if key not in self._refused or token < self._refused[key][1]:
            self._refused[key] = (agent, token)

    def are_durable(self, sink: str, key: str) -> bool:
        """Whether the sink holds a fence above the token of the effect."""
        agent, token = self._refused.get((sink, key), ("", NO_TOKEN))
        return self._fences.get((sink, agent), NO_TOKEN) > token
