"""The commands of ``haltproof`` that are about scenario files: which there are, what they say, whether they are right.

Owns the words of these commands, and how every command finds and reads a scenario.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from harness.exits import Exit, Refused, unreadable
from harness.version import version
from scenarios.problems import ScenarioInvalid
from scenarios.seeds import SEED_MAX

if TYPE_CHECKING:
    from scenarios.model import Scenario

Flag = Annotated[bool, Parameter(negative=())]


def add_to(app: App) -> None:
    """Give ``app`` the commands of this module."""
    app.command(list_, name="list")
    for command in (explain, validate, schema):
        app.command(command)


def list_(*, json: Flag = False) -> Exit:
    """Show the library: each scenario, what plays it, and its hypothesis.

    Parameters
    ----------
    json
        Print one JSON document.
    """
    from rich.markup import escape
    from rich.table import Table

    from harness import terminal
    from scenarios.derive import drivers

    loaded = [load(path) for path in find(())]
    if json:
        rows = [{"scenario": each.scenario, "drivers": list(drivers(each)), "hypothesis": each.hypothesis} for each in loaded]
        terminal.print_json({"schema": "haltproof/list/1", "scenarios": rows})
        return Exit.VALID
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("scenario", "drivers", "hypothesis"):
        table.add_column(name, overflow="fold")
    for each in loaded:
        table.add_row(each.scenario, ", ".join(drivers(each)), escape(each.hypothesis))
    terminal.console().print(table)
    return Exit.VALID


def explain(scenario: str, /, *, seed: int | None = None) -> Exit:
    """Say in plain words what a scenario does, every default included; with a seed, what that seed makes of it.

    Parameters
    ----------
    scenario
        A name from the library or a file.
    seed
        Draw this seed's schedule, too.
    """
    from scenarios.draw import draw
    from scenarios.explain import explain as in_words

    if seed is not None and not 0 <= seed <= SEED_MAX:
        raise Refused(f"--seed: has to be 0 to {SEED_MAX} (got {seed})")
    loaded = load(find((scenario,))[0])
    sys.stdout.write(f"{in_words(loaded, None if seed is None else draw(loaded, seed, version()))}\n")
    return Exit.VALID


def validate(*files: Path) -> Exit:
    """Check scenario files; all problems of all files are shown, each with its place and a remedy.

    Parameters
    ----------
    files
        Scenario files; none checks the library.
    """
    from scenarios.derive import too_short

    code = Exit.VALID
    for path in files or tuple(find(())):
        try:
            loaded = load(path)
        except ScenarioInvalid as invalid:
            sys.stderr.write(f"{invalid}\n")
            code = Exit.SCENARIO
        except OSError as error:  # the other files may be right or wrong all the same
            sys.stderr.write(f"{unreadable(error)}\n")
            code = max(code, Exit.USAGE)
        else:
            short = too_short(loaded)
            sys.stdout.write(f"{path}: valid{short and f'; {short}; use more, or leave it out'}\n")
    return code


def schema() -> Exit:
    """Print the JSON Schema of scenario files."""
    from scenarios import jsonschema

    sys.stdout.write(jsonschema.text())
    return Exit.VALID


def find(names: tuple[str, ...]) -> list[Path]:
    """The files of scenarios, of the whole library if none is named. Raises `ScenarioNotFound`."""
    from scenarios import load as files

    return [files.find(name) for name in names] if names else list(files.library().values())


def load(path: Path) -> Scenario:
    """The scenario in a file. Raises `ScenarioInvalid`, `OSError`."""
    from scenarios import load as files

    return files.load(path)
