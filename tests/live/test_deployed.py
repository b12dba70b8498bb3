"""The runtime as it is deployed, end to end: real processes, real programs, people at a command line."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from killswitch.core import audit
from killswitch.live.log import SqliteLog
from killswitch.live.process import identify
from tests.live.cells import Cell, cell, until

pytestmark = [pytest.mark.live, pytest.mark.slow]

# Forks a child that leaves the session and stops itself, and a grandchild; all of them ignore SIGTERM. Each leaves its pid.
STUBBORN = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for depth in range(2):
    if os.fork() == 0:
        os.setsid()
        open(f"{sys.argv[1]}/pid-{os.getpid()}", "w").close()
        if depth == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
    else:
        break
open(f"{sys.argv[1]}/pid-{os.getpid()}", "w").close()
print("stubborn is up", flush=True)
while True:
    time.sleep(1)
"""


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Cell]:
    with cell(tmp_path / "c") as made:
        yield made
    assert made.left() == []


def agents() -> list[object]:
    node = shutil.which("node")
    return [
        pytest.param([sys.executable, "examples/agent.py"], id="python"),
        pytest.param([node or "node", "examples/agent.js"], id="javascript", marks=[] if node else pytest.mark.skip("no Node.js here")),
    ]


@pytest.mark.parametrize("program", agents())
def test_a_soft_kill_drains_checkpoints_and_exits_and_a_resume_goes_on_from_there(running: Cell, program: list[str]) -> None:
    running.guard(*program)
    until(lambda: running.said("acme-a1", "begins at task 0"), 30)
    until(lambda: len(applied(running)) >= 4)
    assert [json.loads(body["payload"]) for body in applied(running)[:4]] == [{"buy": 10}, {"buy": 20}, {"buy": 30}, {"buy": 10}]
    stopped = running.document("order", "soft", "acme/a1", "--grace", "5s", "--reason", "deploy", "--wait", "15s")
    assert (stopped["stage"], stopped["confirmed"]) == ("EFFECTIVE", True)
    assert stopped["stands"]["agents"][0]["evidence"] == "STOPPED_CLEAN"
    assert running.said("acme-a1", r"leaves before task [1-9]")
    done = running.run("resume", "acme/a1", "--reason", "deployed", "--approvers", "bob,carol")
    assert done.returncode == 0, done.stderr
    until(lambda: running.said("acme-a1", r"begins at task [1-9]"), 30)
    until(lambda: running.run("status").returncode == 0)


def applied(running: Cell) -> list[dict[str, Any]]:
    log = SqliteLog(running.directory / "state" / "sink-acme-ledger" / "log.db")
    try:
        return [audit.content(record) for record in log.read_apart() if record.kind == "APPLIED"]
    finally:
        log.close()


@pytest.mark.parametrize("severity", ["soft", "hard"])
def test_a_program_that_forks_and_ignores_sigterm_is_killed_with_its_whole_tree(running: Cell, tmp_path: Path, severity: str) -> None:
    running.guard(sys.executable, "-c", STUBBORN, str(tmp_path))
    until(lambda: running.said("acme-a1", "stubborn is up", 2) and len(pids(tmp_path)) == 3, 30)
    assert all(identify(pid) for pid in pids(tmp_path))
    stopped = running.document("order", severity, "acme/a1", "--grace", "1s", "--reason", "runaway", "--wait", "15s")
    assert stopped["confirmed"]
    assert stopped["stands"]["agents"][0]["evidence"] == "STOPPED_FORCED"
    assert not any(identify(pid) for pid in pids(tmp_path))


def pids(directory: Path) -> list[int]:
    return [int(path.name.removeprefix("pid-")) for path in directory.glob("pid-*")]


def test_a_sidecar_that_is_killed_takes_its_agent_along_and_its_successor_goes_on(running: Cell) -> None:
    first = running.guard(sys.executable, "examples/agent.py")
    until(lambda: len(applied(running)) >= 4, 30)
    first.kill()
    first.wait()
    until(lambda: len([pid for pid in running.left() if "agent.py" in Path(f"/proc/{pid}/cmdline").read_text()]) == 0)
    running.guard(sys.executable, "examples/agent.py")
    until(lambda: running.said("acme-a1", r"begins at task \d", 2), 30)
    before = len(applied(running))
    until(lambda: len(applied(running)) > before)
    log = SqliteLog(running.directory / "state" / "sink-acme-ledger" / "log.db")
    effects = [audit.content(record) for record in log.read_apart() if record.kind == "APPLIED"]
    log.close()
    fresh = [effect["key"] for effect in effects if not effect["again"]]
    assert len(fresh) == len(set(fresh))


def test_two_sidecars_of_one_agent_are_refused_and_one_that_runs_once_ends_as_its_program_did(running: Cell) -> None:
    running.guard("sleep", "600")
    until(lambda: running.said("acme-a1", "guards sleep"), 30)
    second = running.guard("sleep", "600")
    assert second.wait(20) == 74
    assert running.said("acme-a1", "another process is this node already")
    once = running.guard("sh", "-c", "exit 7", agent="acme/once")
    assert once.wait(30) == 7


def test_nobody_gets_more_than_the_file_gives(running: Cell, tmp_path: Path) -> None:
    running.guard("sleep", "600")
    for person, *words in (
        ("mallory", "order", "hard", "acme/a1", "--reason", "mischief"),
        ("bob", "order", "hard", "acme/a1", "--reason", "not an operator"),
        ("alice", "order", "hard", "everything", "--reason", "not hers to stop"),
        ("mallory", "status", "--tenant", "acme"),
        ("alice", "audit", "export", "--tenant", "acme", "--out", str(tmp_path / "export.json")),
        ("mallory", "audit", "export", "--tenant", "acme", "--out", str(tmp_path / "export.json")),
    ):
        done = running.run(*words, person=person)
        assert (done.returncode, done.stdout) == (1, ""), (person, words, done)
        assert "may not" in done.stderr
    assert running.document("status", person="mallory")["agents"] == []
    mistyped = running.run("order", "hard", "acme/al", "--reason", "a letter too few", "--wait", "1s")
    assert mistyped.returncode == 2
    meant = "no agent of that name has been heard of here (got 'acme/al'), so nothing was stopped; did you mean acme/a1?"
    assert f"acme/al: {meant}\nthe order stands all the same" in mistyped.stderr
    assert running.document("order", "isolate", "acme/al", "--reason", "again")["warning"] == meant
    assert "none of this cell's agents is within it" in mistyped.stdout
    assert running.document("order", "isolate", "acme:tier=gold", "--reason", "look", "--wait", "10s")["confirmed"]
    assert running.run("resume", "acme:tier=gold", "--reason", "x", "--approvers", "bob").returncode == 1  # one of two
    refused = running.run("resume", "acme:tier=gold", "--reason", "x", "--approvers", "bob,mallory,alice")
    assert refused.returncode == 1
    assert "1 of the 2 approvals of distinct people that it takes are there; not counted: mallory may not approve a resume of label" in refused.stderr
    assert "; alice asked for it, and nobody approves what he asked for himself" in refused.stderr
    draft = tmp_path / "draft.json"
    assert running.run("resume", "acme:tier=gold", "--reason", "x", "--draft", str(draft)).returncode == 0
    unheeded = running.run("approve", str(draft), person="mallory")
    assert (unheeded.returncode, unheeded.stdout.splitlines()[1:]) == (1, [f"  lifts order {running.document('status')['orders'][-1]['order']}"])
    assert "not approved: mallory may not approve a resume of label tier=gold" in unheeded.stderr
    whole, edited = draft.read_text(), tmp_path / "edited.json"
    for old, new, said in (
        ('"raw":', '"raw": "AAAA", "raw":', "no draft of a resume (raw: stands there 2 times; keep one of them)"),
        ('"approvals": []', '"approvals": [{"approver": "bob", "signature": "?"}]', "no draft of a resume"),
        ('"approvals": []', '"approvals": [{"approver": "carol", "signature": "AAAA"}]', "not counted: carol signed something else"),
    ):
        assert old in whole
        edited.write_text(whole.replace(old, new, 1))
        done = running.run("approve", str(edited), person="bob")
        assert (done.returncode, said in done.stderr) == (0 if said.startswith("not counted") else 64, True), done
    renamed = json.loads(whole)
    renamed["raw"] = base64.b64encode(base64.b64decode(renamed["raw"]).replace(b"alice", b"erika")).decode()
    edited.write_text(json.dumps(renamed))
    unsigned = running.run("approve", str(edited), person="bob")
    assert unsigned.returncode == 1 and "erika, in whose name it is, has not signed exactly this" in unsigned.stderr
    assert running.run("resume", "--submit", str(edited)).returncode == 1
    first, second = (running.run("approve", str(draft), person=name) for name in ("bob", "carol"))
    assert f"approved by bob; 1 more needed: killswitch approve {draft} --as NAME" in first.stdout
    assert f"approved by bob, carol; enough: killswitch resume --submit {draft}" in second.stdout
    assert running.run("resume", "--submit", str(draft)).returncode == 0
    until(lambda: "acme/a1: free to run, nothing is in force; latest start " in running.run("status").stdout)
    lifted = running.run("status", "--lifted").stdout
    assert "on label tier=gold, by alice: look\n    lifted: a sidecar that has heard so enforces it no more\n" in lifted + "\n"
    log = SqliteLog(running.directory / "state" / "replica-1" / "access.db")
    records = log.read_apart()
    log.close()
    assert audit.verify(records) == len(records)
    denied = [body["person"] for record in records if record.kind == "DECISION" and not (body := audit.content(record))["allowed"]]
    assert denied == ["mallory", "alice", "mallory"]


def test_an_exported_trail_verifies_and_every_change_to_it_shows(running: Cell, tmp_path: Path) -> None:
    running.guard("sleep", "600")
    assert running.run("order", "hard", "acme/a1", "--reason", "audit me", "--wait", "10s").returncode == 0
    file = tmp_path / "export.json"

    def covered() -> bool:
        """Each log is under a head, and brings one: its replica may hear of the cosignature later than the others put it on record."""
        assert running.run("audit", "export", "--tenant", "acme", "--out", str(file), person="carol").returncode == 0
        checked = running.run("audit", "verify", str(file))
        assert checked.returncode == (0 if checked.stdout.startswith("valid: ") else 2), checked.stdout
        heads = all(log["heads"] for log in json.loads(file.read_text())["logs"])
        return checked.returncode == 0 and heads and checked.stdout.count(" under a cosigned head") == 3

    until(covered, 20)
    sound = json.loads(file.read_text())
    assert [log["writer"] for log in sound["logs"]] == ["replica/1", "replica/2", "replica/3"]
    keys = tmp_path / "public.json"
    keys.write_bytes((running.directory / "pki" / "public.json").read_bytes())
    assert running.run("audit", "verify", str(file), "--keys", str(keys), "--config", str(tmp_path / "none.yaml")).returncode == 0
    records = sound["logs"][0]["records"]
    assert "ORDER_ACCEPTED" in {record[2] for record in records}
    changes: dict[str, Callable[[Any], object]] = {
        "edited": lambda log: log["records"][1].__setitem__(3, log["records"][1][3] + 1),
        "deleted": lambda log: (log["records"].pop(1), log["proofs"].pop(1), log["hashes"].pop(1)),
        "reordered": lambda log: log["records"].reverse(),
        "truncated": cut_below_its_last_head,
    }
    for name, change in changes.items():
        broken = json.loads(json.dumps(sound))
        change(broken["logs"][0])
        file.write_text(json.dumps(broken))
        checked = running.run("audit", "verify", str(file))
        assert checked.returncode == 1, name
        assert checked.stdout.startswith("invalid: replica/1"), checked.stdout
    file.write_text(json.dumps({**sound, "logs": [cut_to_its_beginning(log) for log in sound["logs"]]}))
    checked = running.run("audit", "verify", str(file))
    assert (checked.returncode, checked.stdout.startswith("unknown: ")) == (2, True), checked.stdout
    assert "no witness vouches for replica/1, replica/2, replica/3: " in checked.stdout
    for left, code, said in ((sound["logs"][1:], 1, "invalid: replica/1: incomplete: "), ([], 2, f"unknown: {file}: empty: ")):
        file.write_text(json.dumps({**sound, "logs": left}))
        checked = running.run("audit", "verify", str(file))
        assert (checked.returncode, checked.stdout.startswith(said)) == (code, True), checked
    assert running.run("audit", "export", "--tenant", "acme", "--out", str(file), "--replica", "2", person="carol").returncode == 0
    assert running.run("audit", "verify", str(file)).returncode == 1
    assert running.run("audit", "verify", str(file), "--replica", "2").returncode == 0


def test_one_replica_of_three_is_lost_and_the_others_go_on(running: Cell) -> None:
    guarded = running.guard("sleep", "600")
    until(lambda: running.said("acme-a1", '"PROC_START"'), 30)
    lost = next(pid for pid in running.left() if b"--replica\x001\x00" in Path(f"/proc/{pid}/cmdline").read_bytes() + b"\x00")
    os.kill(lost, signal.SIGKILL)
    until(lambda: running.said("plane", "replica/1 ended with -9; the others go on: killswitch control-plane --replica 1 starts it again"), 10)
    stopped = running.run("order", "soft", "acme/a1", "--grace", "10h", "--reason", "two are enough", "--wait", "20s")
    assert "--grace: 10h is more than the cell's grace-max or the policy allows; it is 300 s" in stopped.stderr
    assert stopped.returncode == 0, stopped.stderr
    assert guarded.poll() is None


def test_a_port_that_is_taken_is_named_with_what_to_do(running: Cell, tmp_path: Path) -> None:
    text = running.file.read_text()
    other = tmp_path / "other"
    other.mkdir()
    (other / "cell.yaml").write_text(text)
    assert running.run("pki", str(other)).returncode == 0  # and not that of the environment's cell
    assert (other / "pki" / "public.json").exists()
    taken = running.run("control-plane", "--config", str(other / "cell.yaml"), "--replica", "1")
    assert taken.returncode == 74
    assert "address already in use" in taken.stderr.lower()
    assert "; end what listens there, or give it another port in the cell's file" in taken.stderr
    assert "not a folder" in running.run("pki", str(running.file)).stderr


def test_a_resume_below_the_scope_of_what_holds_an_agent_is_told_which_scope_lifts_it(running: Cell) -> None:
    assert running.run("order", "isolate", "acme", "--reason", "all of them").returncode == 0
    narrow = running.run("resume", "acme/a1", "--reason", "x", "--approvers", "bob,carol")
    assert narrow.returncode == 1
    assert "nothing is in force at acme/a1 itself" in narrow.stderr
    assert "  ISOLATE of acme, order " in narrow.stderr
    assert ": killswitch resume acme --reason" in narrow.stderr
    assert running.run("resume", "acme", "--reason", "x", "--approvers", "bob,carol").returncode == 0
    until(lambda: running.run("resume", "acme/a1", "--reason", "x", "--approvers", "bob,carol").stdout == "nothing is in force there\n", 10)


def test_a_resume_that_leaves_a_wider_order_in_force_says_so_and_promises_no_start(running: Cell) -> None:
    for scope in ("acme", "acme/a1"):
        assert running.run("order", "isolate", scope, "--reason", "twice").returncode == 0
    narrow = running.run("resume", "acme/a1", "--reason", "x", "--approvers", "bob,carol")
    assert (narrow.returncode, narrow.stdout.count("accepted"), narrow.stdout.count("start")) == (0, 1, 0)
    assert narrow.stderr.count("  ISOLATE of ") == 1, "the order that was lifted is none of those that hold"
    assert "  ISOLATE of acme, order " in narrow.stderr
    assert ": killswitch resume acme --reason" in narrow.stderr
    wide = running.run("resume", "acme", "--reason", "x", "--approvers", "bob,carol")
    assert (wide.returncode, wide.stderr) == (0, "")
    assert "starts its\nagent again" in wide.stdout


@pytest.mark.parametrize("arguments", [("status",), ("order", "isolate", "acme/a1", "--reason", "nobody reads the answer")])
def test_a_reader_who_leaves_does_not_make_an_order_refused(running: Cell, arguments: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "killswitch.live.command", *arguments, "--as", "alice"]
        assert subprocess.run(command, env=running.environment, stdout=writing, stderr=writing, check=False, timeout=60).returncode == 141
    finally:
        os.close(writing)
    if arguments[0] == "order":
        assert [order["severity"] for order in running.document("status")["orders"]] == ["ISOLATE"]


def test_a_policy_is_tried_and_taken_back(running: Cell, tmp_path: Path) -> None:
    running.guard("sleep", "600")
    until(lambda: running.said("acme-a1", '"PROC_START"'), 30)
    harsh = "scenarios/policies/every-stop-is-hard.cedar"
    assert running.run("policy", "canary", harsh, person="alice").returncode == 1  # of one tenant, not of all
    (tmp_path / "broken.cedar").write_text("permit (")
    assert running.run("policy", "canary", str(tmp_path / "broken.cedar"), person="root").returncode == 64
    (tmp_path / "deaf.cedar").write_text("forbid(principal, action, resource);")
    deaf = running.run("policy", "stable", str(tmp_path / "deaf.cedar"), person="root")
    assert deaf.returncode == 64 and "none of the cell's operators could stop anything" in deaf.stderr
    tried = running.run("policy", "canary", harsh, "--percent", "100", person="root")
    assert tried.returncode == 0 and "effective" in tried.stdout, tried.stderr
    assert running.document("status")["policy"]["stage"] == "CANARY"
    assert running.document("order", "soft", "acme/a1", "--reason", "x", "--wait", "10s")["stands"]["severity"] == "HARD"
    assert running.run("resume", "acme/a1", "--reason", "x", "--approvers", "bob,carol").returncode == 0
    assert running.run("policy", "rolled-back", "--request", "back", person="root").returncode == 0
    assert running.run("policy", "rolled-back", "--request", "back", person="root").returncode == 0, "the same request is the same rollout"
    assert running.document("status")["policy"]["canary"] == ""
    until(lambda: running.said("acme-a1", '"PROC_START"', 2), 30)
    assert running.document("order", "soft", "acme/a1", "--grace", "2s", "--reason", "x", "--wait", "10s")["stands"]["severity"] == "SOFT"


def test_a_wide_stop_isolates_until_a_second_person_has_countersigned_exactly_it(running: Cell, tmp_path: Path) -> None:
    running.guard("sleep", "600")
    until(lambda: running.said("acme-a1", '"PROC_START"'), 30)
    careful, asking = "scenarios/policies/two-keys.cedar", tmp_path / "asking.json"
    assert running.run("policy", "canary", careful, "--percent", "100", person="root").returncode == 0
    assert running.run("policy", "stable", person="root").returncode == 0
    alone = running.run("order", "hard", "acme", "--reason", "runaway", "--draft", str(asking))
    assert alone.returncode == 2 and "policy wants 1 more people" in alone.stderr and str(asking) in alone.stderr
    assert [order["severity"] for order in running.document("status")["orders"]] == ["ISOLATE"]
    written = asking.read_text()
    for person in ("alice", "mallory"):  # the same person twice, and somebody of another tenant: that is one
        again = running.run("countersign", str(asking), person=person)
        assert again.returncode == 2 and "alice asks for HARD on tenant acme of acme: runaway" in again.stderr
        assert "1 more people" in again.stderr
    forged = json.loads(written)
    forged["raw"] = forged["raw"][::-1]
    asking.write_text(json.dumps(forged))
    assert running.run("countersign", str(asking), person="bob").returncode == 64
    asking.write_text(written)
    both = running.document("countersign", str(asking), "--wait", "10s", person="bob")
    assert (both["stage"], both["keys_needed"], both["stands"]["severity"], both["confirmed"]) == ("EFFECTIVE", 0, "HARD", True)
    assert {agent["agent"]: agent["evidence"] for agent in both["stands"]["agents"]}["acme/a1"] == "STOPPED_FORCED"


def cut_to_its_beginning(log: dict[str, Any]) -> dict[str, Any]:
    """As it was before anybody was asked to cosign it."""
    records = [record for record in log["records"] if record[0] <= 1]
    return {**log, "hashes": log["hashes"][:1], "records": records, "proofs": [[] for _ in records], "heads": []}


def cut_below_its_last_head(log: dict[str, Any]) -> None:
    """What lies after the last cosigned head can be cut off unseen: for that, somebody has to have seen it."""
    size = int(log["heads"][-1].splitlines()[1].split()[0])
    kept = [number for number, record in enumerate(log["records"]) if record[0] < size]
    log["hashes"] = log["hashes"][: size - 1]
    log["records"], log["proofs"] = [log["records"][number] for number in kept], [log["proofs"][number] for number in kept]
