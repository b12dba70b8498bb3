"""The ``haltproof`` command.

Owns the words of the command line, what each command answers, and its exit code. Everything that it does is done elsewhere, and imported only
by the command that needs it, for a command line that takes a second to say hello is one that nobody likes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from harness import bugs_cli, live_cli, results_folder, results_store, scenarios_cli
from harness.audit_cli import audit_app
from harness.exits import Exit, Refused, of_campaign, of_verdict, unreadable
from harness.shared.interruption import Terminated, sigterm_raises_at_once
from harness.version import release, version
from killswitch import output
from scenarios.problems import ScenarioInvalid, ScenarioNotFound
from scenarios.seeds import Seeds, SeedsInvalid

if TYPE_CHECKING:
    from harness.campaign import Outcome
    from scenarios.model import Scenario
    from scenarios.schedule import Schedule

app = App(
    name="haltproof",
    help="Chaos testing and verification of the Kill Switch Protocol. Exit codes: 0 valid, 1 invalid, 2 unknown, 64 usage, 65 a broken file.",
    help_format="plaintext",
    version=release,
    suppress_keyboard_interrupt=False,  # `answer` has a word and a code for it
)
app.command(audit_app)
live_cli.add_to(app)
bugs_cli.add_to(app)
scenarios_cli.add_to(app)
DEFAULT_OUT = Path("out/run")
RETRIES_MAX = 5


@app.command
def run(
    *scenarios: str,
    seeds: str = "",
    jobs: int = 0,
    out: Path = DEFAULT_OUT,
    json: Annotated[bool, Parameter(negative=())] = False,
    implementation: str = "killswitch",
    live: Annotated[bool, Parameter(negative=())] = False,
    require: Annotated[bool, Parameter(negative=())] = False,
    retries: int = 0,
    twice: Annotated[bool, Parameter(negative=())] = False,
    twins: Annotated[bool, Parameter(negative=())] = False,
) -> Exit:
    """Play scenarios over seeds, judge every run, and write results and a report.

    Parameters
    ----------
    scenarios
        Names from the library or files; none plays the whole library.
    seeds
        N for seeds 1 to N, or A..B; each scenario's own if left out.
    jobs
        Processes to play on; 0 takes one for each core.
    out
        The directory for results: campaign.json, runs.jsonl, runs.parquet, report.html, report.md, junit.xml.
    json
        Print the campaign as one JSON document, and nothing else.
    implementation
        What to play: killswitch, a planted bug such as B03, or module:object.
    live
        Play against real processes through a real Toxiproxy, one run at a time.
    require
        With --live: play nothing, and exit with 5, if a scenario cannot be played on this host.
    retries
        With --live: play a run whose verdict is unknown again, so often at the most; never one that was violated.
    twice
        Play each run twice, in processes with different hash seeds, and say where they part.
    twins
        Play one seed in ten again with what must not matter altered: S5, S14, S24, S27.
    """
    from harness.campaign import JOBS_MAX

    if require and not live:
        raise Refused("--require: goes with --live only: the simulator plays every scenario on every host")
    if live and (twice or twins):
        raise Refused("--twice and --twins: two live runs are never the same, so there is nothing to compare; leave out --live or those")
    if not 0 <= retries <= RETRIES_MAX or (retries and not live):
        raise Refused(f"--retries: has to be 0 to {RETRIES_MAX}, and goes with --live only (got {retries}): a simulated run is the same each time")
    if not 0 <= jobs <= JOBS_MAX:
        raise Refused(f"--jobs: has to be 0, for one on each core, or at most {JOBS_MAX} (got {jobs})")
    paths = scenarios_cli.find(scenarios)
    loaded = [(path, scenarios_cli.load(path)) for path in paths]
    _refuse_twins(loaded)
    chosen = Seeds.parse(seeds) if seeds else None
    _check_implementation(implementation)
    if twice:
        return _run_twice(loaded, chosen, implementation, json=json)
    with results_folder.claimed(out), results_folder.replaced(out):
        if live:
            return _run_live(loaded, chosen, implementation, out, json=json, require=require, retries=retries)
        return _run_simulated(paths, chosen, jobs or os.cpu_count() or 1, implementation, out, json=json, twins=twins)


def _run_simulated(paths: list[Path], chosen: Seeds | None, jobs: int, implementation: str, out: Path, *, json: bool, twins: bool) -> Exit:
    from harness import campaign, terminal

    began = time.perf_counter()
    chunks = campaign.plan(paths, lambda scenario: _seeds_of(scenario, chosen), implementation, out, twins=twins)
    with terminal.progress("runs") as progress, sigterm_raises_at_once():
        outcome = campaign.play_all(chunks, jobs, progress)
    return _conclude(outcome, paths, "sim", implementation, out, began, json=json, options=" --twins" * twins)


def _conclude(
    outcome: Outcome, paths: list[Path], driver: str, implementation: str, out: Path, began: float, *, json: bool, options: str = ""
) -> Exit:
    """Write the results, render the report, print the answer."""
    from harness import campaign, terminal
    from reports.render import render

    made = campaign.finish(
        outcome, paths, driver=driver, implementation_name=implementation, out=out, began=began, replay=f"haltproof replay{options}"
    )
    render(out)
    if json:
        terminal.print_json(made)
    else:
        terminal.show_campaign(made)
    if outcome.broken:
        terminal.complain(f"{outcome.broken}; {len(outcome.runs)} runs were done by then, and are kept")
    if outcome.interrupted:
        return Exit.TERMINATED if outcome.terminated else Exit.INTERRUPTED
    return of_campaign(made, outcome.runs)


def _run_live(
    loaded: list[tuple[Path, Scenario]], chosen: Seeds | None, implementation: str, out: Path, *, json: bool, require: bool, retries: int
) -> Exit:
    began = time.perf_counter()
    seeds = chosen or Seeds(1, 1)
    played = live_cli.play(loaded, lambda scenario: _seeds_of(scenario, seeds), implementation, out, require=require, retries=retries)
    return live_cli.code_of(played, _conclude(played.outcome, [path for path, _ in loaded], "live", implementation, out, began, json=json))


def _run_twice(loaded: list[tuple[Path, Scenario]], chosen: Seeds | None, implementation: str, *, json: bool) -> Exit:
    from harness import terminal, twice
    from scenarios.draw import draw

    answers: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="haltproof-twice-") as scratch:
        for _, scenario in loaded:
            for seed in _seeds_of(scenario, chosen):
                digest, divergence = twice.play_twice(draw(scenario, seed, version()), implementation, Path(scratch))
                answers.append({"scenario": scenario.scenario, "seed": seed, "digest": digest, "divergence": str(divergence or "")})
                if not json:
                    terminal.console().print(f"{scenario.scenario} {seed}: {digest} {divergence or 'twice the same'}", markup=False)
    if json:
        terminal.print_json({"schema": "haltproof/twice/1", "runs": answers})
    return Exit.INVALID if any(answer["divergence"] for answer in answers) else Exit.VALID


@app.command
def replay(
    what: str, /, *, scenario: str = "", implementation: str = "", json: Annotated[bool, Parameter(negative=())] = False, out: Path | None = None,
    twins: Annotated[bool, Parameter(negative=())] = False,
) -> Exit:  # fmt: skip
    """Play one run again, byte for byte, from its token or its schedule file.

    Parameters
    ----------
    what
        A token (hp1:...) or a schedule.json.
    scenario
        The scenario file of a token that is not of the library.
    implementation
        Play another implementation than the token names, for example to see whether a bug is gone.
    json
        Print the run as one JSON document.
    out
        Keep schedule, history, findings and a report here.
    twins
        Play its twins, too, as `haltproof run --twins` did.
    """
    from harness import campaign, terminal
    from harness.shared.implementation import load as load_implementation
    from harness.single import simulate
    from reports.render import render

    schedule, played, kept_of = _schedule_of(what, scenario)
    chosen = implementation or played
    with nullcontext() if out is None else results_folder.claimed(out, one_run=True):
        judged = simulate(schedule, load_implementation(chosen), () if twins else None)
        if out is not None:
            campaign.keep_one(judged, out)
            render(out)
    if json:
        terminal.print_json(judged.result)
    else:
        terminal.show_run(judged.result)
    if kept_of not in ("", chosen):
        again = f"--implementation {kept_of} plays that again"
        terminal.complain(f"this schedule was kept of a run of {kept_of}, and it was {chosen} that played it now: {again}")
    return of_verdict(judged.result.verdict)


def _schedule_of(what: str, scenario: str) -> tuple[Schedule, str, str]:
    """The schedule that a token or file stands for, the implementation that plays it if nobody names another, and the one that a file was kept of,
    if its campaign is there to say so."""
    from harness import digests
    from harness import token as tokens
    from harness.checkers.jury import Jury
    from harness.shared.implementation import OURS
    from scenarios import schedule as schedules
    from scenarios.draw import draw

    if not what.startswith("hp1:"):
        path = Path(what)
        if path.is_dir():
            raise Refused(f"{what}: a folder; of a kept run name the schedule.json in it")
        if not path.is_file():
            raise Refused(f"{what}: neither a token nor a file; a token begins with hp1:, a schedule is the schedule.json beside a history")
        try:
            schedule = schedules.load(path)
            Jury(schedule.expect.invariants)
        except ValueError as broken:
            raise Refused(str(broken) if str(path) in str(broken) else f"{path}: {broken}", Exit.SCENARIO) from broken
        try:
            origin = digests.origin(path)
        except ValueError as changed:  # the schedule, or the campaign.json that speaks of it: which of them, it says
            raise Refused(str(changed), Exit.SCENARIO) from changed
        return schedule, OURS, origin.implementation if origin else ""
    token = tokens.parse(what)
    try:
        path = scenarios_cli.find((scenario or token.scenario,))[0]
    except ScenarioNotFound as missing:
        raise Refused(f"{missing}; name its file with --scenario FILE", Exit.SCENARIO) from missing
    schedule = draw(scenarios_cli.load(path), token.seed, version())
    problems = tokens.mismatches(token, schedule)
    if problems:
        raise Refused("this would not be the run of that token:\n  " + "\n  ".join(problems), Exit.SCENARIO)
    return schedule, token.implementation, ""


@app.command
def report(results: Path = DEFAULT_OUT) -> Exit:
    """Render the report of a results directory again, if its files agree with each other.

    Parameters
    ----------
    results
        What `haltproof run --out` wrote.
    """
    from harness import agreement
    from reports.render import render

    try:
        untold = agreement.demand(results)
        print(render(results))
    except results_store.Missing as missing:
        mistyped = not (results / results_store.CAMPAIGN_FILE).is_file()
        raise Refused(str(missing), Exit.USAGE if mistyped else Exit.SCENARIO) from missing
    except ValueError as broken:
        raise Refused(str(broken), Exit.SCENARIO) from broken
    if untold:
        print(untold, file=sys.stderr)
    return Exit.VALID


# -- what commands share -----------------------------------------------------------------------------------------------------------------


def _refuse_twins(loaded: list[tuple[Path, Scenario]]) -> None:
    """Results are filed by name, so two files may not claim the same one."""
    seen: dict[str, Path] = {}
    for path, scenario in loaded:
        if scenario.scenario in seen:
            raise Refused(
                f"{path}: scenario: the name is taken by {seen[scenario.scenario]} (got {scenario.scenario!r}); give it another", Exit.SCENARIO
            )
        seen[scenario.scenario] = path


def _check_implementation(name: str) -> None:
    from harness.shared.implementation import load

    if ":" in name and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    load(name)


def _seeds_of(scenario: Scenario, chosen: Seeds | None) -> range:
    return chosen.range if chosen is not None else range(scenario.seeds.low, scenario.seeds.high + 1)


def main() -> None:
    """Run the command line and exit with its code."""
    sys.exit(answer(sys.argv[1:]))


def answer(arguments: list[str]) -> int:
    """Run one command line; its exit code. Errors for people go to standard error."""
    try:
        code = app(arguments, exit_on_error=False, print_error=True, result_action="return_value")
        sys.stdout.flush()  # here, and not when the interpreter ends, where nobody could answer to a reader who has left
    except CycloptsError:
        return Exit.USAGE  # cyclopts has said why
    except BaseException as error:  # noqa: BLE001  # every way out of a command has a code of its own
        return _answer_to(error)
    return int(code) if code is not None else Exit.VALID


def _answer_to(error: BaseException) -> int:
    """What to say of an error, and the code it exits with. What nobody foresaw is a bug of ours, and has to say so."""
    from harness.shared.implementation import ImplementationUnknown
    from harness.token import TokenInvalid

    if isinstance(error, Refused):
        return _say(error, error.code)
    if isinstance(error, ScenarioInvalid):
        return _say(error, Exit.SCENARIO)
    if isinstance(error, ScenarioNotFound | SeedsInvalid | ImplementationUnknown | TokenInvalid):
        return _say(error, Exit.USAGE)
    if output.reader_left(error):  # who has seen enough; the answer may have come after that
        return Exit.BROKEN_PIPE
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
        return _say(unreadable(error), Exit.USAGE)
    if isinstance(error, KeyboardInterrupt | Terminated):
        interrupted = isinstance(error, KeyboardInterrupt)
        return _say("interrupted" if interrupted else "terminated", Exit.INTERRUPTED if interrupted else Exit.TERMINATED)
    if isinstance(error, SystemExit):
        return _say(f"something that was played tried to end haltproof (SystemExit {error.code})", Exit.BUG)
    traceback.print_exception(error)
    return _say(f"this is a bug of haltproof {version()}: please report it, with the lines above and the command", Exit.BUG)


def _say(what: object, code: Exit) -> int:
    print(what, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
