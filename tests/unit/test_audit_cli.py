"""`haltproof audit`: a kept run's trail is exported, verified, and found out when somebody has been at it."""

from __future__ import annotations

import re
import shutil
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest

from harness import audit_cli, audit_store
from harness.exits import Exit
from harness.shared import implementation
from harness.single import simulate
from killswitch.core import audit_merge
from killswitch.core.audit_merge import Stamped
from scenarios import load
from scenarios.draw import draw
from tests.unit.causes import first_disorder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one kept run with two tenants."""
    scenario = load.load(load.find("swarm-storm"))
    place = tmp_path_factory.mktemp("run")
    audit_store.keep(place, simulate(draw(scenario, 1, "test"), implementation.load("killswitch")).trail)
    return place


def exported(run: Path, capsys: pytest.CaptureFixture[str], tenant: str = "acme") -> Path:
    assert audit_cli.export(run, tenant=tenant) is Exit.VALID
    capsys.readouterr()
    return run / "audit" / f"export-{tenant}.json"


@pytest.mark.parametrize("tenant", ["acme", "acme2"])
def test_what_is_exported_verifies(run: Path, tenant: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = exported(run, capsys, tenant)
    assert audit_cli.verify(file, json=True) is Exit.VALID
    answer = msgspec.json.decode(capsys.readouterr().out)
    assert answer["sound"]
    assert all(size for writer, size in answer["covered"].items() if writer.startswith(("replica/", "sidecar/")))
    assert answer["records"] > 100


def test_the_kept_trail_is_one_view_in_order_of_causes(run: Path) -> None:
    lines = (run / "audit" / "trail.jsonl").read_bytes().splitlines()
    view = [msgspec.json.decode(line, type=Stamped) for line in lines]
    assert first_disorder(view) is None
    assert view == audit_merge.linear(audit_merge.union(view))
    assert any(entry.record.kind == "COSIG" for entry in view)


def test_a_file_that_somebody_edited_is_found_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = msgspec.json.decode(exported(run, capsys).read_bytes())
    log = next(log for log in document["logs"] if log["writer"].startswith("sidecar/"))
    log["records"][2][3] += 1  # its clock
    file = tmp_path / "edited.json"
    file.write_bytes(msgspec.json.encode(document))
    assert audit_cli.verify(file, keys=run / "audit" / "keyring.json") is Exit.INVALID
    assert capsys.readouterr().out.startswith(f"invalid: {log['writer']}: record 3: edited: ")


def test_the_keys_of_another_world_verify_nothing(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keyring = msgspec.structs.replace(audit_store.load_keyring(run / "audit" / "keyring.json"), secret=b"another")
    keys = tmp_path / "keyring.json"
    keys.write_bytes(msgspec.json.encode(keyring))
    assert audit_cli.verify(exported(run, capsys), keys=keys) is Exit.INVALID
    assert "unproven" in capsys.readouterr().out


def test_what_cannot_be_done_is_said(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert audit_cli.export(tmp_path, tenant="acme") is Exit.USAGE
    assert "cannot be read" in capsys.readouterr().err
    assert audit_cli.export(run, tenant="acm") is Exit.USAGE
    assert "there are acme, acme2" in capsys.readouterr().err
    assert audit_cli.verify(tmp_path / "nothing.json") is Exit.USAGE
    garbage = tmp_path / "garbage.json"
    garbage.write_text("{")
    assert audit_cli.verify(garbage, keys=run / "audit" / "keyring.json") is Exit.INVALID
    assert "malformed" in capsys.readouterr().out


def test_an_export_without_a_log_is_incomplete_and_one_without_any_is_unknown(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = msgspec.json.decode(exported(run, capsys).read_bytes())
    logs, file, keys = document["logs"], tmp_path / "export.json", run / "audit" / "keyring.json"
    for number, log in enumerate(logs):
        file.write_bytes(msgspec.json.encode({**document, "logs": logs[:number] + logs[number + 1 :]}))
        assert audit_cli.verify(file, keys=keys) is Exit.INVALID
        assert capsys.readouterr().out.startswith(f"invalid: {log['writer']}: incomplete: ")
    file.write_bytes(msgspec.json.encode({**document, "logs": []}))
    assert audit_cli.verify(file, keys=keys) is Exit.UNKNOWN
    assert capsys.readouterr().out.startswith(f"unknown: {file}: empty: ")
    file.write_bytes(b"")
    assert audit_cli.verify(file, keys=keys) is Exit.UNKNOWN
    assert capsys.readouterr().out.startswith(f"unknown: {file}: empty: the file is empty")


def test_a_keyring_that_knows_nobody_is_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = tmp_path / "keyring.json"
    keys.write_text('{"scheme": "simulated", "witnesses": []}')
    assert audit_cli.verify(exported(run, capsys), keys=keys) is Exit.SCENARIO
    assert "witnesses: there are none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"writers": {}}, "writers: there are none, so nobody would miss"), ({"secret": b""}, "secret: there is none"),
     ({"scheme": "ed25519"}, "public: no key of replica/1, replica/2")],
)  # fmt: skip
def test_a_keyring_that_would_show_nothing_is_refused(
    changes: dict[str, object], said: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keyring = msgspec.structs.replace(audit_store.load_keyring(run / "audit" / "keyring.json"), **changes)
    keys = tmp_path / "keyring.json"
    keys.write_bytes(msgspec.json.encode(keyring))
    assert audit_cli.verify(exported(run, capsys), keys=keys) is Exit.SCENARIO
    assert f"{keys}: {said}" in capsys.readouterr().err


def test_a_key_that_stands_twice_is_refused_with_its_place(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, keys = exported(run, capsys), run / "audit" / "keyring.json"
    doubled = tmp_path / "export.json"
    doubled.write_bytes(file.read_bytes().replace(b'"tenant":', b'"tenant": "globex", "tenant":', 1))
    assert audit_cli.verify(doubled, keys=keys) is Exit.INVALID
    assert capsys.readouterr().out.startswith(f"invalid: {doubled}: malformed: tenant: stands there 2 times; keep one of them; ")
    ring = tmp_path / "keyring.json"
    ring.write_bytes(keys.read_bytes().replace(b'"witnesses":', b'"witnesses":["replica/1"],"witnesses":', 1))
    assert audit_cli.verify(file, keys=ring) is Exit.SCENARIO
    assert f"{ring}: witnesses: stands there 2 times" in capsys.readouterr().err


def test_how_sure_each_log_is_is_said(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = exported(run, capsys)
    assert audit_cli.verify(file) is Exit.VALID
    words = capsys.readouterr().out
    assert re.search(r"^  replica/1: 1 to [0-9]+ under a cosigned head, ", words, re.MULTILINE)
    assert re.search(r"^  agent/acme/1: 1 to [0-9]+ by their chain alone$", words, re.MULTILINE)
    assert "whoever has that keyring can sign in every name" in words
    assert audit_cli.verify(file, json=True) is Exit.VALID
    logs = msgspec.json.decode(capsys.readouterr().out)["logs"]
    assert logs["agent/acme/1"]["cosigned"] == 0 < logs["agent/acme/1"]["chained"]
    assert logs["replica/1"]["cosigned"] > 0


def test_an_export_with_more_than_a_kept_run_had_is_found_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = exported(run, capsys)
    content = msgspec.json.decode(file.read_bytes())
    log = next(log for log in content["logs"] if log["writer"] == "replica/1")
    log["hashes"].append(b64encode(bytes(32)).decode())
    file.write_bytes(msgspec.json.encode(content))
    assert audit_cli.verify(file) is Exit.INVALID
    assert f"invalid: replica/1: record {len(log['hashes'])}: extended: " in capsys.readouterr().out


def test_a_trail_of_a_kept_run_that_was_cut_is_found_out(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever cuts the trail itself, and exports what is left, is given away by the keyring, or by what other logs say of the rest."""
    shutil.copytree(run / "audit", tmp_path / "audit")
    lines = (run / "audit" / "trail.jsonl").read_bytes().splitlines(keepends=True)
    for writer in ("replica/2", "sidecar/acme/1", "agent/acme/1"):
        own = [line for line in lines if f'"writer":"{writer}"'.encode() in line]
        (tmp_path / "audit" / "trail.jsonl").write_bytes(b"".join(line for line in lines if line not in own[len(own) // 2 :]))
        assert audit_cli.verify(exported(tmp_path, capsys)) is Exit.INVALID
        assert capsys.readouterr().out.startswith(f"invalid: {writer}: record {len(own) // 2}: truncated: ")
