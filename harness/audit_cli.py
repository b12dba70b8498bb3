"""The ``haltproof audit`` commands: what an auditor is given of a run, and how it is checked.

Owns the words of these commands and their answers. What an export is, and what is wrong with one, is the core's (`audit_export`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from cyclopts import App, Parameter

from harness.exits import Exit, Refused, of_verdict
from harness.verdict import Verdict

audit_app = App(name="audit", help="Export one tenant's part of a run's audit trail, and verify such an export.", help_format="plaintext")
Flag = Annotated[bool, Parameter(negative=())]
_Read = TypeVar("_Read")


@audit_app.command
def export(run: Path, /, *, tenant: str, out: Path | None = None, json: Flag = False) -> Exit:
    """Write a tenant's records of a kept run with their proofs, and hashes alone of everybody else's.

    Parameters
    ----------
    run
        The folder of a kept run, such as out/run/runs/NAME-SEED.
    tenant
        Whose records.
    out
        The file to write; RUN/audit/export-TENANT.json if left out, beside the keyring that verifies it.
    json
        Print one JSON document.
    """
    import msgspec

    from harness import audit_store
    from killswitch.core import audit_export

    try:
        logs = _read(lambda: audit_store.load(run))
    except Refused as refused:
        return _complain(refused)
    tenants = sorted({audit_export.tenant_of(writer) for writer in logs} - {audit_export.EVERYBODY})
    if tenant not in tenants:
        return _complain(Refused(f"--tenant: no node of it is in this run (got {tenant!r}); there are {', '.join(tenants) or 'none'}"))
    exported = audit_export.export(logs, tenant)
    place = out or run / audit_store.FOLDER / f"export-{tenant}.json"
    place.write_bytes(msgspec.json.format(msgspec.json.encode(exported), indent=1) + b"\n")
    shown, hidden = sum(len(log.records) for log in exported.logs), sum(len(log.hashes) for log in exported.logs)
    answer = {"schema": "haltproof/audit-export/1", "file": str(place), "tenant": tenant, "logs": len(exported.logs), "records": shown}
    words = f"{place}: {shown} records of {tenant} in {len(exported.logs)} logs, {hidden - shown} as hashes"
    _answer(answer | {"hidden": hidden - shown}, words, json)
    return Exit.VALID


@audit_app.command
def verify(file: Path, /, *, keys: Path | None = None, json: Flag = False) -> Exit:
    """Check an export: every record, link, head, cosignature and proof, and that no log ends before what others know of it.

    Exit code 0 if all holds, 1 with the first that does not, 2 if there is nothing in it to check, or no witness vouches for one of the logs.

    Parameters
    ----------
    file
        What `haltproof audit export` wrote.
    keys
        The keyring; keyring.json beside the file if left out. Take it from somebody else than the export.
    json
        Print one JSON document.
    """
    from harness import audit_store
    from killswitch.core import audit_export

    try:
        content = _read(lambda: audit_store.read(file, "write one with `haltproof audit export RUN --tenant NAME`"))
        keyring = _read(lambda: audit_store.load_keyring(keys or file.parent / audit_store.KEYRING_FILE))
        verifier = _read(keyring.verifier)
    except Refused as refused:
        return _complain(refused)
    try:
        report = (
            audit_export.Report(audit_export.NOTHING, why="the file is empty")
            if not content
            else audit_export.verify(audit_export.read(content), verifier, keyring.witnesses, keyring.expected, keyring.writers)
        )
    except ValueError as broken:
        report = audit_export.Report("malformed", why=f"{broken}; an export is what `haltproof audit export RUN --tenant NAME` writes")
    answer = {"schema": "haltproof/audit-verify/1", "verdict": report.verdict, "sound": report.sound, "problem": report.problem}
    answer |= {"writer": report.writer, "seq": report.seq, "why": report.why, "records": report.records, "covered": report.covered}
    answer |= {"logs": report.standings, "unseen": report.unseen, "scheme": keyring.scheme}
    made_up = report.sound and keyring.scheme == "simulated"
    stand_in = "\nits signatures are a simulated world's: whoever has that keyring can sign in every name" if made_up else ""
    _answer(answer, report.words(str(file)) + stand_in, json)
    return of_verdict(Verdict(report.verdict))


def _read(load: Callable[[], _Read]) -> _Read:
    """What ``load`` gives. Raises `Refused` where a file is not there, or is not what it has to be."""
    from harness import audit_store

    try:
        return load()
    except audit_store.NotThere as missing:
        raise Refused(str(missing)) from missing
    except ValueError as broken:
        raise Refused(str(broken), Exit.SCENARIO) from broken


def _answer(document: dict[str, Any], words: str, as_json: bool) -> None:
    import msgspec

    sys.stdout.write((msgspec.json.encode(document).decode() if as_json else words) + "\n")


def _complain(refused: Refused) -> Exit:
    sys.stderr.write(f"{refused}\n")
    return refused.code
