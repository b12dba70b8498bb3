"""Results that somebody edited where nothing else says otherwise: the digest of the file gives it away, to every command that reads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from harness import agreement, digests, results_store
from harness.campaign import keep_one
from harness.cli import answer
from harness.shared import implementation
from harness.single import simulate
from scenarios import load
from scenarios.draw import draw

NAME = "isolate-then-soft"
KEPT = f"runs/{NAME}-1"
TRAIL, KEYRING = f"{KEPT}/audit/trail.jsonl", f"{KEPT}/audit/keyring.json"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A kept run."""
    out = tmp_path_factory.mktemp("results")
    keep_one(simulate(draw(load.load(load.find(NAME)), 1, "test"), implementation.load("killswitch")), out)
    return out


@pytest.fixture
def out(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "out"))


def edit(place: Path, old: bytes, new: bytes) -> None:
    content = place.read_bytes()
    assert old in content
    place.write_bytes(content.replace(old, new, 1))


def said_of(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capfd.readouterr()
    code = answer([str(argument) for argument in arguments])
    said = capfd.readouterr()
    return code, said.err or said.out


# {what: (file, what stands there, what somebody makes of it)}: each leaves the documents in full agreement
EDITS: dict[str, tuple[str, bytes, bytes]] = {
    "the digest of a run": ("runs.jsonl", b'"digest":"', b'"digest":"0'),
    "how long it took": ("runs.jsonl", b'"simulated_ns":', b'"simulated_ns":1'),
    "a fact": (f"{KEPT}/history.jsonl", b'"order-requested"', b'"order-durable"'),
    "when a fact was": (f"{KEPT}/history.jsonl", b"\n[", b"\n[1"),
    "a schedule": (f"{KEPT}/schedule.json", b'"seed": 1', b'"seed": 2'),
    "a record": (TRAIL, b'"stamp":', b'"stamp":1'),
    "a key": (KEYRING, b'"secret":"', b'"secret":"AAAA'),
    "a hypothesis": ("campaign.json", b'"version": "', b'"version": "9'),
}  # fmt: skip


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_that_nothing_contradicts_is_named(what: str, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert agreement.demand(out) == ""
    file, old, new = EDITS[what]
    edit(out / file, old, new)
    code, said = said_of(capfd, "report", out)
    assert code == 65
    assert f"{out / file}: was changed after it was written (its digest is " in said
    assert "these results were edited or cut short, and are not shown" in said


def test_an_edit_that_leaves_nothing_to_read_is_named_as_one(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    edit(out / "runs.jsonl", b'"verdict":"', b'"verdict":"V')
    code, said = said_of(capfd, "report", out)
    assert code == 65
    assert said.startswith(f"{out / 'runs.jsonl'}: was changed after it was written (its digest is ")
    assert f"{out / 'runs.jsonl'}:1: " in said


def test_the_command_that_writes_a_kept_run_anew_is_told(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    edit(out / KEPT / "history.jsonl", b'"order-requested"', b'"order-durable"')
    token = results_store.load(out).runs[0].token
    assert f"play it again: haltproof replay '{token}' --out DIR" in said_of(capfd, "report", out)[1]


@pytest.mark.parametrize(
    ("what", "command"),
    [("a schedule", ("replay", f"{KEPT}/schedule.json")), ("a record", ("audit", "export", KEPT, "--tenant", "acme")),
     ("a key", ("audit", "verify", f"{KEPT}/audit/export.json")), ("a hypothesis", ("replay", f"{KEPT}/schedule.json")),
     ("a hypothesis", ("audit", "export", KEPT, "--tenant", "acme"))],
)  # fmt: skip
def test_who_reads_one_file_looks_too(what: str, command: tuple[str, ...], out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    exported = out / KEPT / "audit" / "export.json"
    assert said_of(capfd, "audit", "export", out / KEPT, "--tenant", "acme", "--out", exported)[0] == 0
    arguments = [str(out / each) if each.startswith("runs/") else each for each in command]
    assert said_of(capfd, *arguments)[0] == 0
    file, old, new = EDITS[what]
    edit(out / file, old, new)
    code, said = said_of(capfd, *arguments)
    assert code == 65
    assert said.startswith(f"{out / file}: was changed after it was written (its digest is ")


def test_a_schedule_that_is_edited_on_purpose_plays_elsewhere(out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    elsewhere = Path(shutil.copy(out / KEPT / "schedule.json", tmp_path / "mine.json"))
    edit(elsewhere, b'"seed": 1', b'"seed": 2')
    assert said_of(capfd, "replay", elsewhere)[0] == 0
    assert said_of(capfd, "replay", out / KEPT) == (64, f"{out / KEPT}: a folder; of a kept run name the schedule.json in it\n")


def test_a_key_that_stands_twice_is_named_with_its_line(out: Path) -> None:
    edit(out / "runs.jsonl", b'"ended":', b'"ended":"early","ended":')
    with pytest.raises(ValueError, match=r"was changed after .*; .*runs\.jsonl:1: ended: stands there 2 times; keep one of them"):
        agreement.demand(out)


def older(out: Path) -> None:
    """The same results as a version without digests left them."""
    place = out / results_store.CAMPAIGN_FILE
    campaign = structs.replace(results_store.load(out).campaign, files={}, seal="")
    document = msgspec.to_builtins(campaign)
    del document["files"], document["seal"]
    place.write_bytes(msgspec.json.encode(document))


def test_results_without_digests_are_shown_and_it_is_said(out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    older(out)
    code, said = said_of(capfd, "report", out)
    assert (code, said) == (0, f"{out}: written before results had digests: {agreement.UNTOLD}\n")
    assert said_of(capfd, "replay", out / KEPT / "schedule.json")[0] == 0
    edit(out / "runs.jsonl", b'"ended":', b'"ended":"early","ended":')
    code, said = said_of(capfd, "report", out)
    assert code == 65
    assert f"{out / 'runs.jsonl'}:1: ended: stands there 2 times; keep one of them" in said


@pytest.mark.parametrize("gone", ["files", "seal"])
def test_digests_that_somebody_took_out_are_missed(gone: str, out: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = out / results_store.CAMPAIGN_FILE
    document = msgspec.json.decode(place.read_bytes())
    del document[gone]
    place.write_bytes(msgspec.json.encode(document))
    code, said = said_of(capfd, "report", out)
    assert code == 65
    assert "changed after it was written" in said


def test_the_seal_is_that_of_the_bytes(out: Path) -> None:
    content = (out / results_store.CAMPAIGN_FILE).read_bytes()
    seal = results_store.load(out).campaign.seal
    assert digests.digest(digests.with_seal(content, digests.UNSEALED, seal)) == seal


def test_a_schedule_names_who_played_it_if_somebody_else_does_now(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Otherwise a planted bug's schedule, which the real core masters, would pass in silence."""
    out, name = tmp_path / "out", "minority-grants-nothing"
    assert said_of(capfd, "run", name, "--seeds", "1", "--jobs", "1", "--implementation", "B02", "--out", out)[0] == 1
    schedule = out / "runs" / f"{name}-1" / "schedule.json"
    code = answer(["replay", str(schedule)])
    said = capfd.readouterr()
    assert code == 0
    assert "played by killswitch" in said.out
    assert said.err == "this schedule was kept of a run of B02, and it was killswitch that played it now: --implementation B02 plays that again\n"
    assert answer(["replay", str(schedule), "--implementation", "B02"]) == 1
    said = capfd.readouterr()
    assert "played by B02" in said.out
    assert said.err == ""
