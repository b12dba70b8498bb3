"""The ``haltproof bugs`` command: what is planted, and how much of it the harness finds.

Owns the words of this command and its answers. Planting is ``planted``'s, and counting seeds ``hunt``'s.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from harness.exits import Exit, Refused

if TYPE_CHECKING:
    from harness.planted.bug import PlantedBug

LIST_SCHEMA = "haltproof/bug-list/1"
Flag = Annotated[bool, Parameter(negative=())]


def add_to(app: App) -> None:
    """Give ``app`` the command of this module."""
    app.command(bugs)


def bugs(
    *names: str, seeds: int = 40, jobs: int = 0, once: Flag = False, list_only: Annotated[bool, Parameter(name="--list", negative=())] = False,
    json: Flag = False,
) -> Exit:  # fmt: skip
    """Measure the harness on planted bugs: bug x invariant x seeds to find, and that nobody flags the controls.

    Parameters
    ----------
    names
        Bugs and controls, such as B01 or C02; none takes all.
    seeds
        Give up on a bug after so many seeds of each of its scenarios.
    jobs
        Processes to play on; 0 takes one for each core.
    list_only
        Say what there is, who is to find it and where, and play nothing.
    once
        Leave a bug alone once one of its scenarios has found it.
    json
        Print one JSON document.
    """
    from harness import hunt, planted, terminal
    from harness.campaign import JOBS_MAX, WorkerDied

    strangers = [name for name in names if name not in planted.COLLECTION]
    if strangers or seeds < 1 or not 0 <= jobs <= JOBS_MAX:
        why = (
            "\n".join(f"no such bug: {name}{_near(name, planted.COLLECTION)}; `haltproof bugs --list` shows all that there are" for name in strangers)
            if strangers
            else f"--seeds has to be positive, and --jobs 0 to {JOBS_MAX} (got {seeds} and {jobs})"
        )
        raise Refused(why)
    chosen = names or tuple(planted.COLLECTION)
    if list_only:
        _list([planted.COLLECTION[name] for name in chosen], as_json=json)
        return Exit.VALID
    try:
        with terminal.progress("bugs") as progress:
            matrix = hunt.hunt(chosen, seeds, jobs or os.cpu_count() or 1, progress, everywhere=not once)
    except WorkerDied as died:
        raise Refused(str(died), Exit.UNKNOWN) from died
    if json:
        terminal.print_json(matrix)
    else:
        terminal.show_matrix(matrix)
    return Exit.VALID if hunt.is_sound(matrix) else Exit.INVALID


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name, known)
    return f", but {', '.join(near)}" if near else ""


def _list(found: Iterable[PlantedBug], *, as_json: bool) -> None:
    from harness import terminal

    if as_json:
        rows = [
            {"bug": bug.name, "mistake": bug.mistake, "caught_by": bug.caught_by, "scenarios": bug.scenarios, "difficulty": bug.difficulty}
            for bug in found
        ]
        terminal.print_json({"schema": LIST_SCHEMA, "bugs": rows})
    else:
        terminal.show_bugs(found)
