"""What an auditor does from the command line: fetch a tenant's audit trail from the replicas of a cell, and check one with public keys alone.

Owns the words in which the answers are given, and the exit code of each. Must not know HTTP (``remote``), nor what is wrong with an export
(`audit_export`). Who checks says himself whose logs there have to be: the replicas of a cell's file, or those of a file of public keys.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import msgspec
from msgspec import structs

from killswitch import files
from killswitch.core import audit_export, unreadable
from killswitch.core.audit_export import Export, LogExport, Report
from killswitch.core.keys import Ed25519
from killswitch.live import pki
from killswitch.live.config import Loaded
from killswitch.live.exits import Exit, Wrong
from killswitch.live.remote import Refused, Remote, Unreachable

AGAIN: Final = 8  # logs grow while they are fetched: how often one is fetched anew because another speaks of more


def export(remote: Remote, loaded: Loaded, tenant: str, replica: str, out: Path) -> int:
    """Fetch a tenant's part of every replica's log, or of the one that is named. Those that do not answer are named, and it is not called done."""
    if replica and replica not in loaded.cell.replicas:
        raise Wrong(f"--replica: not in the file (got {replica!r}); there are {', '.join(loaded.cell.replicas)}")
    logs: dict[str, LogExport] = {}
    silent: list[str] = []
    for name in (replica,) if replica else tuple(loaded.cell.replicas):
        try:
            logs |= _fetch(remote, tenant, name)
        except Unreachable as error:
            silent.append(str(error))
    if not logs:
        raise Wrong(f"no replica answered, so nothing is known: {'; '.join(silent)}; try again, or another --replica", Exit.UNKNOWN)
    public = _public(loaded.pki / pki.PUBLIC)
    fetched = _in_step(remote, tenant, logs, public)
    try:
        out.write_bytes(msgspec.json.format(msgspec.json.encode(fetched), indent=1) + b"\n")
    except OSError as error:
        raise Wrong(f"--out: {out}: cannot be written ({error.strerror}); name a file in a folder that is there") from error
    records = sum(len(log.records) for log in fetched.logs)
    print(f"{out}: {records} records of {tenant} at {', '.join(log.writer for log in fetched.logs)}")
    print(f"check it: killswitch audit verify {out}{f' --replica {replica}' if replica else ''}")
    if silent:
        print(f"incomplete: {'; '.join(silent)}; export again once they answer", file=sys.stderr)
        return Exit.UNKNOWN
    return Exit.DONE


def _fetch(remote: Remote, tenant: str, replica: str) -> dict[str, LogExport]:
    try:
        answer = remote.ask("GET", f"/v1/audit/{tenant}", replica=replica)
    except Refused as refused:
        raise Wrong(f"refused: {refused}", Exit.REFUSED) from None
    try:
        return {log.writer: log for log in msgspec.convert(answer.body, Export).logs}
    except msgspec.ValidationError as error:
        raise Unreachable(f"replica {replica}: its answer is no export ({error})") from error


def _in_step(remote: Remote, tenant: str, logs: dict[str, LogExport], public: dict[str, bytes]) -> Export:
    """The logs as one export. A log that another one, fetched a moment later, speaks of more of is fetched again: it has grown since."""
    fetched = _together(tenant, logs)
    for _ in range(AGAIN):
        report = audit_export.verify(fetched, Ed25519({}, public), _replicas(public), {})
        if report.problem != "truncated":
            break
        try:
            logs |= _fetch(remote, tenant, report.writer.removeprefix("replica/"))
        except Unreachable:
            break  # what was fetched is kept; `verify` will say of which log there has to be more
        fetched = _together(tenant, logs)
    return fetched


def _together(tenant: str, logs: dict[str, LogExport]) -> Export:
    return Export(audit_export.SCHEMA, tenant, tuple(logs[writer] for writer in sorted(logs)))


def verify(file: Path, public_file: Path, replica: str, replicas: tuple[str, ...] = ()) -> int:
    """Check an export. ``replicas``: whose logs there have to be; all that have a key if left out. ``replica``: that log alone has to be."""
    public = _public(public_file)
    witnesses = replicas or _replicas(public)
    if not witnesses:
        raise Wrong(f"{public_file}: no key of a replica is in it; name the public.json that `killswitch pki` wrote", Exit.CONFIG)
    if replica and f"replica/{replica}" not in witnesses:
        known = ", ".join(name.removeprefix("replica/") for name in witnesses)
        raise Wrong(f"--replica: no replica of that name has a key (got {replica!r}); there are {known}")
    report = _report(file, public, witnesses, dict.fromkeys([f"replica/{replica}"] if replica else witnesses, 1))
    print(report.words(str(file)))
    return {"valid": Exit.DONE, "invalid": Exit.REFUSED, "unknown": Exit.UNKNOWN}[report.verdict]


def _report(file: Path, public: dict[str, bytes], witnesses: tuple[str, ...], expected: dict[str, int]) -> Report:
    try:
        content = files.content(file)
    except OSError as error:
        raise Wrong(f"{file}: cannot be read ({error.strerror}); `killswitch audit export --tenant NAME --out FILE` writes one") from error
    if not content.strip():
        return Report(audit_export.NOTHING, why="the file is empty; `killswitch audit export --tenant NAME --out FILE` writes an export")
    try:
        exported = audit_export.read(content)
    except ValueError as broken:
        return Report("malformed", why=f"{broken}; an export is what `killswitch audit export --tenant NAME --out FILE` writes")
    report = audit_export.verify(exported, Ed25519({}, public), witnesses, expected)
    if report.problem == "incomplete":
        shown = [log.writer.removeprefix("replica/") for log in exported.logs]
        one = f"; if that of one replica is all that was asked for, say so with --replica {shown[0]}" if len(shown) == 1 else ""
        return structs.replace(report, why=f"{report.why}{one}")
    return report


def _replicas(public: dict[str, bytes]) -> tuple[str, ...]:
    return tuple(sorted(name for name in public if name.startswith("replica/")))


def _public(file: Path) -> dict[str, bytes]:
    """{name: public key}. Raises `Wrong`."""
    try:
        content = files.content(file)
    except OSError as error:
        raise Wrong(f"{file}: cannot be read ({error.strerror}); name the public.json that `killswitch pki` wrote with --keys FILE") from error
    try:
        public = msgspec.json.decode(content, type=dict[str, bytes])
        Ed25519({}, public)
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise _no_keys(file, unreadable.why(content, error)) from error
    if twice := unreadable.repeated(content):  # two keys of one name: who verifies with which?
        raise _no_keys(file, "; ".join(twice[: audit_export.TOLD_MAX]))
    return public


def _no_keys(file: Path, why: str) -> Wrong:
    return Wrong(f"{file}: {why}; public keys are in the public.json that `killswitch pki` wrote: name it with --keys FILE", Exit.CONFIG)
