"""Every file that a command reads, broken in every way: its name, what is wrong, and the right code; no traceback, and nothing written over it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness import audit_cli, results_store
from harness.campaign import keep_one
from harness.cli import answer
from harness.shared import implementation
from harness.single import simulate
from reports.render import render
from scenarios import load
from scenarios.draw import draw

NAME = "isolate-then-soft"
KEPT = f"runs/{NAME}-1"
BAD_DATA = (65,)
BAD_EXPORT = (1,)
NO_EXPORT = (2,)  # there is nothing in it
OF_RESULTS = ("runs.jsonl", "history.jsonl", "findings.json")  # where one of these is missing, it is not the name of the directory that is wrong
BROKEN = {
    "empty": b"", "blank": b" \n\n", "binary": bytes(range(256)), "zeros": bytes(64), "not-utf8": b'{"schema": "\xff"}',
    "deep-lists": b"[" * 50_000, "deep-objects": b'{"logs":' * 20_000, "deep-and-closed": b"[" * 3000 + b"]" * 3000, "nan": b'{"seed": NaN}',
    "null": b"null", "a-list": b"[]", "an-object": b"{}", "a-text": b'"x"', "a-number": b"1" * 5000, "negative": b"-1",
    "half-a-character": b'{"schema": "\\uD800"}', "another-schema": b'{"schema": "haltproof/other/9"}',
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was kept, with its report, and an export of its trail."""
    out = tmp_path_factory.mktemp("results")
    keep_one(simulate(draw(load.load(load.find(NAME)), 1, "test"), implementation.load("killswitch")), out)
    render(out)
    audit_cli.export(out / KEPT, tenant="acme")
    return out


# What reads each file of a results directory, and how it may end if the file is broken.
READERS: dict[str, tuple[Callable[[Path], list[str]], tuple[int, ...]]] = {
    f"{KEPT}/schedule.json": (lambda out: ["replay", str(out / KEPT / "schedule.json")], BAD_DATA),
    "campaign.json": (lambda out: ["report", str(out)], BAD_DATA),
    "runs.jsonl": (lambda out: ["report", str(out)], BAD_DATA),
    f"{KEPT}/history.jsonl": (lambda out: ["report", str(out)], BAD_DATA),
    f"{KEPT}/findings.json": (lambda out: ["report", str(out)], BAD_DATA),
    f"{KEPT}/audit/trail.jsonl": (lambda out: ["audit", "export", str(out / KEPT), "--tenant", "acme"], BAD_DATA),
    f"{KEPT}/audit/keyring.json": (lambda out: ["audit", "verify", str(out / KEPT / "audit" / "export-acme.json")], BAD_DATA),
    f"{KEPT}/audit/export-acme.json": (lambda out: ["audit", "verify", str(out / KEPT / "audit" / "export-acme.json")], BAD_EXPORT),
}


def say(capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = answer(list(arguments))
    said = capfd.readouterr()
    assert "Traceback" not in said.err, said.err
    return code, said.out + said.err


@pytest.fixture
def copy(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "out"))


@pytest.mark.parametrize("file", READERS)
@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_file_is_named(file: str, how: str, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command, codes = READERS[file]
    page = (copy / "report.html").read_bytes()
    place = copy / file
    place.write_bytes(BROKEN[how])
    code, said = say(capfd, *command(copy))
    assert code in (NO_EXPORT if codes == BAD_EXPORT and not BROKEN[how] else codes), said
    assert place.name in said
    assert place.read_bytes() == BROKEN[how]
    assert (copy / "report.html").read_bytes() == page


@pytest.mark.parametrize("file", READERS)
@pytest.mark.parametrize("how", ["gone", "a folder", "a loop of links"])
def test_a_file_that_cannot_be_read_is_named(file: str, how: str, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = copy / file
    place.unlink()
    if how == "a folder":
        place.mkdir()
    elif how == "a loop of links":
        place.symlink_to(place)
    code, said = say(capfd, *READERS[file][0](copy))
    assert code == (65 if place.name in OF_RESULTS else 64), said
    assert str(place) in said


@pytest.mark.parametrize("file", READERS)
def test_a_file_cut_anywhere_is_not_taken_for_the_whole(file: str, copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command, codes = READERS[file]
    place = copy / file
    whole = place.read_bytes()
    for size in range(0, len(whole.rstrip()), max(10, len(whole) // 40)):
        place.write_bytes(whole[:size])
        code, said = say(capfd, *command(copy))
        if file.endswith("trail.jsonl") and code == 0:  # cut at the end of a line: the keyring knows how long the logs were
            code = say(capfd, "audit", "verify", str(copy / KEPT / "audit" / "export-acme.json"))[0]
            assert code == 1
        else:
            assert code in (NO_EXPORT if codes == BAD_EXPORT and not size else codes), (size, said)


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_scenario_is_named_and_the_next_file_is_checked_all_the_same(how: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "x.yaml"
    place.write_bytes(BROKEN[how])
    code, said = say(capfd, "validate", str(tmp_path / "gone.yaml"), str(place), str(load.find(NAME)))
    assert code == 65
    assert re.search(rf"^{re.escape(str(place))}:[0-9]+:[0-9]+: .*; ", said, re.MULTILINE)
    assert f"{tmp_path / 'gone.yaml'}: No such file or directory; " in said
    assert f"{load.find(NAME)}: valid" in said


def test_a_single_run_does_not_take_the_place_of_a_campaign(results: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    schedule = str(results / KEPT / "schedule.json")
    out = tmp_path / "again"
    assert say(capfd, "replay", schedule, "--out", str(out))[0] == say(capfd, "replay", schedule, "--out", str(out))[0] == 0
    (out / results_store.CAMPAIGN_FILE).write_text("{")
    code, said = say(capfd, "replay", schedule, "--out", str(out))
    assert (code, "is the answer of a whole campaign; name an empty or a new directory" in said) == (64, True)
    assert (out / results_store.CAMPAIGN_FILE).read_text() == "{"


def test_what_misleads_a_decoder_is_said_in_words(copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    place = copy / KEPT / "schedule.json"
    whole = place.read_bytes()
    for content, why in (
        (b"", "empty"), (b"\xef\xbb\xbf" + whole, "a byte order mark"),
        (whole.replace(b'"reason": "', b'"reason": "\\uD800', 1), "half of a character"),
        (whole.replace(b'"where": {', b'"where": {"node": ' + b"[" * 20_000 + b"]" * 20_000 + b",", 1), "nested too deeply"),
    ):  # fmt: skip
        place.write_bytes(content)
        assert why in say(capfd, "replay", str(place))[1]
