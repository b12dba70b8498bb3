"""What a planted bug is, and how it is put in force.

Owns the replacement of functions and the check that they exist and are reached. A bug is an implementation like any other: any command
can play it by its name.
"""

from __future__ import annotations

import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

from killswitch.core import build
from killswitch.core.keys import Signer
from killswitch.core.machine import Machine, NodeConfig

CORE: Final = "killswitch.core"


class BugMisplaced(Exception):
    """A planted bug names a function that the core does not have: the core has moved on, and the bug has to follow."""


@contextmanager
def as_if(holder: object, attribute: str, value: object) -> Iterator[None]:
    """For a mistake that overlooks one thing: what a function does where an attribute is not what it is."""
    truth = getattr(holder, attribute)
    setattr(holder, attribute, value)
    try:
        yield
    finally:
        setattr(holder, attribute, truth)


@dataclass(frozen=True)
class PlantedBug:
    """``replaces``: {``module:function``: its replacement}, replaced everywhere if that module defines the function, and in that module alone if it
    only imported it. ``caught_by``: the invariants expected to see it, none for a control.

    ``clock``: what its machines run on. ``wall_ms``: how a mistake reads a node's wall clock (`read_wall_ms`); ``notes``: what it remembers.
    ``scenarios``: where it shows, most likely first. ``difficulty``: easy, medium or hard, by the seeds it takes.
    """

    name: str
    mistake: str
    replaces: dict[str, Callable[..., Any]]
    caught_by: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ("swarm-storm",)
    difficulty: str = "easy"
    clock: str = "CLOCK_BOOTTIME"
    calls: dict[str, int] = field(default_factory=dict, compare=False)
    notes: dict[tuple[str, str], int] = field(default_factory=dict, compare=False)
    wall_ms: list[Callable[[str], int]] = field(default_factory=list, compare=False)

    @property
    def is_control(self) -> bool:
        """Whether it changes nothing that the protocol promises, so that flagging it is a false alarm."""
        return not self.caught_by

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        return build.machine(config, signer)

    def show_wall_clocks(self, read: Callable[[str], int]) -> None:
        """A driver's nodes have wall clocks of their own, which no machine is given: a mistake reads them as `time.time` would be read."""
        self.wall_ms[:] = [read]
        self.notes.clear()

    def read_wall_ms(self, node: str) -> int:
        return self.wall_ms[0](node) if self.wall_ms else time.time_ns() // 1_000_000

    @contextmanager
    def installed(self) -> Iterator[None]:
        """The mistakes are made inside, and nowhere else. Raises `BugMisplaced`. ``calls`` counts how often each was reached."""
        found = [(place, *_find(self.name, place)) for place in self.replaces]  # all of them, before any of them is another function
        undo: list[tuple[dict[Any, Any], Any, Any]] = []
        try:
            for place, original, modules in found:
                counted = self._counted(place, self.replaces[place])
                for table in (table for module in modules for table in (vars(module), *_tables(module))):
                    for key in [key for key, value in table.items() if value is original]:
                        undo.append((table, key, original))
                        table[key] = counted
            yield
        finally:
            for table, key, original in reversed(undo):
                table[key] = original

    def _counted(self, place: str, replacement: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(replacement)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls[place] = self.calls.get(place, 0) + 1
            return replacement(*args, **kwargs)

        return counted


def _tables(module: ModuleType) -> list[dict[Any, Any]]:
    """The dispatch tables of a module: functions are called through these, too."""
    return [value for name, value in vars(module).items() if isinstance(value, dict) and not name.startswith("__")]


def _find(bug: str, place: str) -> tuple[Callable[..., Any], list[ModuleType]]:
    """The function at ``place``, and the modules in which it is to be another one."""
    module_name, _, name = place.partition(":")
    module = importlib.import_module(f"{CORE}.{module_name}")
    original = getattr(module, name, None)
    if not callable(original):
        raise BugMisplaced(f"{bug}: {CORE}.{module_name} has no function {name}; the core has moved on, and the bug has to follow")
    return original, _core_modules() if original.__module__ == module.__name__ else [module]


def _core_modules() -> list[ModuleType]:
    """Every module of the core that is in use. What judges the core keeps the true function, even if it imported it from there."""
    return [module for name, module in sorted(sys.modules.items()) if name.startswith(f"{CORE}.")]
