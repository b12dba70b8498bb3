"""Who holds which keys that bodies are sealed with, how they are changed, and what is said of a file that does not hold any."""

from __future__ import annotations

import stat
from pathlib import Path

import msgspec
import pytest

from killswitch.core import codec
from killswitch.core.messages import Query
from killswitch.live import config, frames
from killswitch.live.command import run
from killswitch.live.exits import Exit
from killswitch.live.pki import SEALING, Pki, sealing_file
from killswitch.live.sealing import FILE_LIMIT, LOOK_S, PEOPLE, Sealing, Seals, Unopened, Unsealable, Why, circle_between, read_rings

SIDECAR, OTHER, REPLICA, SINK = "sidecar/acme/1", "sidecar/globex/1", "replica/1", "sink/acme/ledger"
NODES = (REPLICA, "replica/2", SIDECAR, OTHER, SINK, "operator/alice")


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    made = Pki(tmp_path, "test.example")
    made.issue(NODES)
    return made


class Time:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def seals(directory: Path, node: str, clock_s: Time | None = None, whose: str = "") -> Seals:
    return Seals(Sealing(str(sealing_file(directory, node))), whose or node, clock_s or Time())


def said(sender: str, to: str) -> bytes:
    return frames.message_payload(0, codec.encode(Query("acme/1", "k"), sender, to, ""))


def refused(reader: Seals, sender: str, sealed: bytes) -> Why:
    with pytest.raises(Unopened) as caught:
        reader.open(sender, sealed)
    return caught.value.why


@pytest.mark.parametrize(
    ("own", "peer", "circle"),
    [
        (SIDECAR, REPLICA, "acme"), (REPLICA, SIDECAR, "acme"), (SIDECAR, SINK, "acme"), (REPLICA, SINK, "acme"), (REPLICA, "replica/2", "system"),
        (REPLICA, "operator", PEOPLE), ("operator", REPLICA, PEOPLE), (SIDECAR, OTHER, ""), (OTHER, SINK, ""), ("operator", SIDECAR, ""),
    ],
)  # fmt: skip
def test_the_tenant_of_a_connection_says_which_key(own: str, peer: str, circle: str) -> None:
    assert circle_between(own, peer) == circle


def test_each_node_holds_the_keys_of_its_own_tenant_and_replicas_hold_all(tmp_path: Path, pki: Pki) -> None:
    every = read_rings(tmp_path / SEALING)
    assert set(every) == {"system", "acme", "globex"}
    for node, circles in ((REPLICA, {*every}), (SIDECAR, {"acme"}), (SINK, {"acme"}), (OTHER, {"globex"})):
        assert read_rings(sealing_file(tmp_path, node)) == {circle: every[circle] for circle in circles}
    files = [*tmp_path.rglob(SEALING)]
    assert len(files) == len(NODES)  # a person has none, and there is the one of all
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    pki.issue(NODES)
    assert read_rings(tmp_path / SEALING) == every


def test_one_tenants_sidecar_reads_nothing_of_another_even_if_it_is_handed_the_frame(tmp_path: Path, pki: Pki) -> None:
    replica, other = seals(tmp_path, REPLICA), seals(tmp_path, OTHER)
    for_acme = replica.seal(SIDECAR, said(REPLICA, SIDECAR))
    assert refused(other, REPLICA, for_acme) is Why.KEY
    assert refused(seals(tmp_path, OTHER, whose=SIDECAR), REPLICA, for_acme) is Why.KEY  # with any name that it likes
    assert refused(replica, OTHER, seals(tmp_path, SIDECAR).seal(REPLICA, said(OTHER, REPLICA))) is Why.KEY  # nor is anything taken from it so
    assert refused(seals(tmp_path, SIDECAR), REPLICA, replica.seal("replica/2", said(REPLICA, "replica/2"))) is Why.KEY
    with pytest.raises(Unsealable, match="no key for sink/acme/ledger"):
        other.seal(SINK, said(OTHER, SINK))


def test_a_key_is_changed_in_three_steps_and_at_each_old_and_new_files_understand_each_other(tmp_path: Path, pki: Pki) -> None:
    time = Time()
    replica, sidecar = seals(tmp_path, REPLICA, time), seals(tmp_path, SIDECAR, time)
    first = replica.seal(SIDECAR, said(REPLICA, SIDECAR))
    keys = set()
    for step in ("accepted, the old one still seals", "new key seals", "old key is gone"):
        behind = (seals(tmp_path, REPLICA), seals(tmp_path, SIDECAR))  # hosts that have not got their files yet
        assert step in pki.turn("acme", NODES)
        ahead = (seals(tmp_path, REPLICA), seals(tmp_path, SIDECAR))
        for one, other in ((behind[0], ahead[1]), (ahead[0], behind[1])):
            assert other.open(REPLICA, one.seal(SIDECAR, said(REPLICA, SIDECAR))) == said(REPLICA, SIDECAR)
        time.now_s += LOOK_S
        sealed = replica.seal(SIDECAR, said(REPLICA, SIDECAR))
        assert sidecar.open(REPLICA, sealed) == said(REPLICA, SIDECAR)  # running processes have taken it up
        keys.add(sealed[8:16])
    assert len(keys) == 2
    assert refused(sidecar, REPLICA, first) is Why.KEY
    assert len(read_rings(tmp_path / SEALING)["globex"].keys) == 1
    with pytest.raises(ValueError, match=r"no such tenant; there are keys of acme, globex, system \(got 'initech'\)"):
        pki.turn("initech", NODES)


def test_a_file_that_goes_bad_under_a_running_process_leaves_its_keys_in_force(tmp_path: Path, pki: Pki) -> None:
    time = Time()
    replica, sidecar = seals(tmp_path, REPLICA), seals(tmp_path, SIDECAR, time)
    file = sealing_file(tmp_path, SIDECAR)
    for spoil in (lambda: file.write_text("{"), file.unlink):
        spoil()
        time.now_s += LOOK_S
        assert sidecar.open(REPLICA, replica.seal(SIDECAR, said(REPLICA, SIDECAR))) == said(REPLICA, SIDECAR)


def test_a_cell_that_was_made_without_keys_is_told_how_to_make_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pki", str(tmp_path)]) == Exit.DONE
    file = sealing_file(tmp_path / "pki", "sidecar/acme/a1")
    before = read_rings(file)
    file.unlink()
    capsys.readouterr()
    arguments = ["sidecar", "--config", str(tmp_path / "cell.yaml"), "--", "true"]
    assert run(arguments) == Exit.USAGE
    assert f"{file}: no keys to seal bodies with; `killswitch pki` makes some" in capsys.readouterr().err
    assert run(["pki", str(tmp_path)]) == Exit.DONE
    assert read_rings(file) == before  # those that there are, and no others
    assert run(["pki", str(tmp_path), "--turn", "acme"]) == Exit.DONE
    assert "acme: a new key is accepted" in capsys.readouterr().out
    assert len(read_rings(file)["acme"].keys) == 2
    assert run(["pki", str(tmp_path), "--turn", "initech"]) == Exit.USAGE
    assert "--turn: no such tenant" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty"), (b"[]", "object"), (b'{"acme": {"keys": []}}', "one or 2 different keys"), (b'{"acme": {"keys": ["AAAA"]}}', "32 bytes"),
        (b'{"acme": {"keys": ["%s"], "seals": 1}}' % (b"A" * 43 + b"="), "no key has that place"),
        (b'{"acme": {"keys": ["%s"], "seal": 0}}' % (b"A" * 43 + b"="), "unknown field"), (b" " * (FILE_LIMIT + 1), "larger than"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_keys_is_named_with_what_is_wrong(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / SEALING
    file.write_bytes(content)
    with pytest.raises(OSError, match="`killswitch pki` writes that of a node anew") as caught:
        Seals(Sealing(str(file)), SIDECAR)
    assert str(caught.value).startswith(f"{file}: ") and problem in str(caught.value)


def test_new_cells_require_seals_and_a_setting_allows_plain_bodies(tmp_path: Path) -> None:
    for setting, required in (("", True), ("sealed-bodies: required\n", True), ("sealed-bodies: allowed\n", False)):
        (tmp_path / "cell.yaml").write_text(setting + config.EXAMPLE)
        cell = config.load(tmp_path / "cell.yaml")
        Pki(cell.pki, cell.cell.trust_domain).issue(cell.nodes)
        sealing = cell.deployment("replica/1").sealing
        assert sealing == Sealing(str(sealing_file(cell.pki, "replica/1")), required)
        assert msgspec.json.decode(msgspec.json.encode(sealing), type=Sealing) == sealing
