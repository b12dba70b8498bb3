"""The ``haltproof audit`` commands: what an auditor is given of a run, and how it is checked.

Owns the words of these commands and their answers. What an export is, and what is wrong with one, is the core's (`audit_export`).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from harness.exits import Exit

audit_app = App(name="audit", help="Export one tenant's part of a run's audit trail, and verify such an export.", help_format="plaintext")
Flag = Annotated[bool, Parameter(negative=())]


@audit_app.command
def export(run: Path, *, tenant: str, out: Path | None = None, json: Flag = False) -> Exit:
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
        logs = audit_store.load(run)
    except ValueError as broken:
        return _complain(str(broken))
    tenants = sorted({audit_export.tenant_of(writer) for writer in logs} - {audit_export.EVERYBODY})
    if tenant not in tenants:
        return _complain(f"--tenant: no node of it is in this run (got {tenant!r}); there are {', '.join(tenants) or 'none'}")
    exported = audit_export.export(logs, tenant)
    place = out or run / audit_store.FOLDER / f"export-{tenant}.json"
    place.write_bytes(msgspec.json.format(msgspec.json.encode(exported), indent=1) + b"\n")
    shown, hidden = sum(len(log.records) for log in exported.logs), sum(len(log.hashes) for log in exported.logs)
    answer = {"schema": "haltproof/audit-export/1", "file": str(place), "tenant": tenant, "logs": len(exported.logs), "records": shown}
    words = f"{place}: {shown} records of {tenant} in {len(exported.logs)} logs, {hidden - shown} as hashes"
    _answer(answer | {"hidden": hidden - shown}, words, json)
    return Exit.VALID


@audit_app.command
def verify(file: Path, *, keys: Path | None = None, json: Flag = False) -> Exit:
    """Check an export: every record, link, head, cosignature and proof. Exit code 0 if all hold, 1 with the first that does not.

    Parameters
    ----------
    file
        What `haltproof audit export` wrote.
    keys
        The keyring; keyring.json beside the file if left out. Take it from somebody else than the export.
    json
        Print one JSON document.
    """
    import msgspec

    from harness import audit_store
    from killswitch.core import audit_export

    try:
        content = audit_store.read(file)
        keyring = audit_store.load_keyring(keys or file.parent / audit_store.KEYRING_FILE)
        verifier = keyring.verifier()
    except ValueError as broken:
        return _complain(str(broken))
    try:
        exported = msgspec.json.decode(content, type=audit_export.Export)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        report = audit_export.Report("malformed", why=f"{file}: {error}")
    else:
        report = audit_export.verify(exported, verifier, keyring.witnesses)
    place = ": ".join(part for part in (report.writer, f"record {report.seq}" if report.seq else "") if part)
    words = f"invalid: {place or file}: {report.problem}: {report.why}"
    if report.sound:
        cosigned = sum(map(bool, report.covered.values()))
        words = f"valid: {report.records} records in {len(report.covered)} logs, {cosigned} of these under cosigned heads"
    answer = {"schema": "haltproof/audit-verify/1", "sound": report.sound, "problem": report.problem, "writer": report.writer, "seq": report.seq}
    _answer(answer | {"why": report.why, "records": report.records, "covered": report.covered}, words, json)
    return Exit.VALID if report.sound else Exit.INVALID


def _answer(document: dict[str, Any], words: str, as_json: bool) -> None:
    import msgspec

    sys.stdout.write((msgspec.json.encode(document).decode() if as_json else words) + "\n")


def _complain(why: str) -> Exit:
    sys.stderr.write(f"{why}\n")
    return Exit.USAGE
