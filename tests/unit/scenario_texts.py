"""Texts of scenarios to begin from, and the problems of one."""

from __future__ import annotations

import pytest

from scenarios import load
from scenarios.problems import ScenarioInvalid

HEAD = "scenario: a-name\nhypothesis: It stops.\n"
FLEET = "topology: {tenants: {acme: {workers: 2}}}\n"
SOUND = HEAD + FLEET


def problems(text: str) -> list[str]:
    """The problems of a text, without the name of the file."""
    with pytest.raises(ScenarioInvalid) as refused:
        load.parse(text, "f")
    return [str(problem).removeprefix("f:") for problem in refused.value.problems]
