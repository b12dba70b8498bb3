"""The files of a results directory: what is written when a campaign ends, and read whenever a report is rendered.

Owns names, layout and encoding of ``campaign.json``, ``runs.jsonl``, ``runs.parquet`` and ``runs/<scenario>-<seed>/``. Must not know
how a run was played or judged, nor how it is shown. Whole files appear by rename, so that a reader never sees half of one; the
Parquet file is made from the JSON Lines by DuckDB, so that the two cannot say different things.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
from msgspec import structs

from harness import digests
from harness.results import CAMPAIGN_SCHEMA, Campaign, RunResult
from harness.shared.history import History
from harness.verdict import Finding
from killswitch import files
from killswitch.core import unreadable
from scenarios.schedule import Schedule

CAMPAIGN_FILE = digests.CAMPAIGN_FILE
RUNS_FILE = "runs.jsonl"
PARQUET_FILE = "runs.parquet"
SCHEDULE_FILE = "schedule.json"
HISTORY_FILE = "history.jsonl"
FINDINGS_FILE = "findings.json"
REPORT_FILES = ("report.html", "report.md", "junit.xml")
WHOLE = (CAMPAIGN_FILE, RUNS_FILE, PARQUET_FILE, *REPORT_FILES, "runs", "live")  # all that a campaign leaves

# The columns of runs.parquet, spelled out: a type guessed from the first rows would change with them.
_COLUMNS = {
    "scenario": "VARCHAR",
    "seed": "BIGINT",
    "driver": "VARCHAR",
    "implementation": "VARCHAR",
    "verdict": "VARCHAR",
    "findings": "STRUCT(invariant VARCHAR, verdict VARCHAR, why VARCHAR, witness BIGINT[], examined BIGINT, observed_ns BIGINT, bound_ns BIGINT, "
    "skipped BIGINT)[]",
    "digest": "VARCHAR",
    "token": "VARCHAR",
    "reached": "MAP(VARCHAR, BIGINT)",
    "faults": "MAP(VARCHAR, BIGINT[])",
    "stop_times": 'STRUCT("order" VARCHAR, agent VARCHAR, severity VARCHAR, last_admission_ns BIGINT, reaped_ns BIGINT, bound_ns BIGINT, '
    "admissions BIGINT)[]",
    "wall_s": "DOUBLE",
    "simulated_ns": "BIGINT",
    "facts": "BIGINT",
    "ended": "VARCHAR",
    "why": "VARCHAR",
    "kept": "VARCHAR",
    "rarities": "MAP(VARCHAR, BIGINT)",
    "spent": "BIGINT",
    "simulated": "STRUCT(verdict VARCHAR, broken VARCHAR[], ended VARCHAR, lacks VARCHAR[], "
    'figures STRUCT(what VARCHAR, "of" VARCHAR, live BIGINT, simulated BIGINT)[])',
    "earlier": "STRUCT(why VARCHAR, ended VARCHAR, wall_s DOUBLE, kept VARCHAR)[]",
    "not_played": "VARCHAR[]",
    "not_judged": "VARCHAR[]",
}

_Document = TypeVar("_Document")


class Results(NamedTuple):
    """What a results directory says: the campaign, and its runs in the order in which they were saved."""

    campaign: Campaign
    runs: tuple[RunResult, ...]


def run_folder(scenario: str, seed: int, play: int = 0) -> str:
    """Where a kept run lies, relative to the results directory: ``runs/<scenario>-<seed>``, and ``.<play>`` for a play that was not its last.

    A scenario name that is not a plain file name is made one, and told apart from its like by a hash: no name leads out of ``runs/``.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", scenario)[:80]
    if plain != scenario:
        plain = f"{plain}~{hashlib.sha256(scenario.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
    return f"runs/{plain}-{seed}" + (f".{play}" if play else "")


def keep_run(out: Path, run: RunResult, schedule: Schedule, history: History, play: int = 0) -> RunResult:
    """Write schedule, history and findings of one run below ``out``; the same run comes back with ``kept`` set. ``play``: as of `run_folder`.

    Safe from several processes at once, as each run has its own folder.
    """
    folder = run_folder(run.scenario, run.seed, play)
    place = out / folder
    place.mkdir(parents=True, exist_ok=True)
    schedule.save(place / SCHEDULE_FILE)
    history.save(place / HISTORY_FILE)
    _write_whole(place / FINDINGS_FILE, msgspec.json.format(msgspec.json.encode(run.findings, order="deterministic"), indent=1) + b"\n")
    return structs.replace(run, kept=folder)


def save(out: Path, campaign: Campaign, runs: Iterable[RunResult]) -> Campaign:
    """Write ``runs.jsonl``, ``runs.parquet`` and last ``campaign.json``: where that file is, the results are complete. The campaign comes back with
    the digests of all its files, kept runs included."""
    out.mkdir(parents=True, exist_ok=True)
    encoder = msgspec.json.Encoder(order="deterministic")
    saved = tuple(runs)
    _write_whole(out / RUNS_FILE, encoder.encode_lines(saved))
    _write_parquet(out)
    folders = [folder for run in saved for folder in (run.kept, *(play.kept for play in run.earlier)) if folder]
    files = digests.of_files(out, (RUNS_FILE, PARQUET_FILE), folders)
    unsealed = structs.replace(campaign, files=files, seal=digests.UNSEALED)
    content = msgspec.json.format(encoder.encode(unsealed), indent=1) + b"\n"
    seal = digests.digest(content)
    _write_whole(out / CAMPAIGN_FILE, digests.with_seal(content, seal))
    return structs.replace(unsealed, seal=seal)


def load(out: Path) -> Results:
    """Read what `save` wrote. Raises `ValueError` naming the file, and the line of it, that is missing or broken."""
    place = out / CAMPAIGN_FILE
    campaign = _decode(place, _read(place), Campaign)
    if campaign.schema != CAMPAIGN_SCHEMA:
        raise ValueError(f"{place}: schema: unknown form (got {campaign.schema!r}); this version reads {CAMPAIGN_SCHEMA}")
    runs = out / RUNS_FILE
    lines = enumerate(_read(runs).splitlines(), start=1)
    try:
        return Results(campaign, tuple(_decode(f"{runs}:{number}", line, RunResult) for number, line in lines))
    except ValueError as error:
        stated = {RUNS_FILE: campaign.files[RUNS_FILE]} if RUNS_FILE in campaign.files else {}
        changed = [problem for _, problem in digests.problems(out, stated, campaign.seal)] if stated else []
        raise ValueError(f"{changed[0]}; and so {error}" if changed else f"{error}") from error


def load_history(out: Path, run: RunResult) -> History | None:
    """The history of a kept run; None if the run was not kept. Raises `ValueError` if it is broken, or lies outside ``out``."""
    if not run.kept:
        return None
    place = out / run.kept / HISTORY_FILE
    if not Path(os.path.realpath(place)).is_relative_to(os.path.realpath(out)):
        raise ValueError(f"{out / RUNS_FILE}: kept: leads out of the results directory (got {run.kept!r})")
    if not place.is_file():
        raise Missing(f"{place}: there is no such file; was the results directory copied whole?")
    return History.load(place)


def load_findings(out: Path, run: RunResult) -> tuple[Finding, ...]:
    """The findings beside a kept history. Raises `ValueError` if there are none to read."""
    place = out / run.kept / FINDINGS_FILE
    return _decode(place, _read(place), tuple[Finding, ...])


def kept_problems(out: Path, runs: Iterable[RunResult]) -> list[str]:
    """What the folders of kept runs say otherwise than ``runs.jsonl``, each as ``place: problem``. Raises `ValueError` for what cannot be read."""
    found = []
    for run in runs:
        history = load_history(out, run)
        if history is None:
            continue
        if load_findings(out, run) != run.findings:
            found.append(f"{out / run.kept / FINDINGS_FILE}: not the findings of {run.scenario!r}, seed {run.seed}, in {RUNS_FILE}")
        if len(history) != run.facts:
            found.append(f"{out / run.kept / HISTORY_FILE}: {len(history)} facts, and {RUNS_FILE} says {run.facts}")
    return found


class Missing(ValueError):
    """A file of the results is not there: a directory that was mistyped, more often than not."""


def _read(place: Path) -> bytes:
    try:
        return files.content(place)
    except OSError as error:
        raise Missing(f"{place}: cannot be read ({error.strerror}); is this the directory that `haltproof run --out` wrote?") from error


def _decode(place: Path | str, content: bytes, form: type[_Document]) -> _Document:
    try:
        return msgspec.json.decode(content, type=form)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{place}: {unreadable.why(content, error)}; the file is broken, or of another version") from error


def _write_whole(place: Path, content: bytes) -> None:
    draft = place.with_name(f".{place.name}.{os.getpid()}.draft")
    draft.write_bytes(content)
    draft.replace(place)


def _write_parquet(out: Path) -> None:
    import duckdb  # 0.1 s to import, and most who import this module only read

    draft = out / f".{PARQUET_FILE}.{os.getpid()}.draft"
    with duckdb.connect() as connection:
        lines = connection.read_json(str(out / RUNS_FILE), columns=_COLUMNS, format="newline_delimited")
        lines.write_parquet(str(draft))
    draft.replace(out / PARQUET_FILE)
