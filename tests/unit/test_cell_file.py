"""The file of a cell: every problem at once and in its place, and nobody with more than a line of it gives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from killswitch.core import keys
from killswitch.live import config
from killswitch.live.config import ConfigInvalid, Loaded
from killswitch.live.pki import Pki


def loaded(directory: Path, text: str = config.EXAMPLE) -> Loaded:
    file = directory / "cell.yaml"
    file.write_text(text)
    return config.load(file)


def problems(directory: Path, text: str) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        loaded(directory, text)
    return [problem.removeprefix(f"{directory / 'cell.yaml'}:") for problem in caught.value.problems]


def test_the_example_is_valid_and_says_who_is_who(tmp_path: Path) -> None:
    cell = loaded(tmp_path)
    assert cell.nodes == (
        "replica/1", "replica/2", "replica/3", "sink/acme/ledger", "sidecar/acme/a1", "operator/alice", "operator/bob", "operator/carol",
        "operator/dana",
    )  # fmt: skip
    Pki(cell.pki, cell.cell.trust_domain).issue(cell.nodes)
    sidecar = cell.deployment("sidecar/acme/a1", ("true",))
    assert (sidecar.config.kill_quorum, sidecar.config.quorum) == (2, 2)
    assert set(sidecar.dials) == {"replica/1", "replica/2", "replica/3", "sink/acme/ledger"}
    assert set(sidecar.private) == {"sidecar/acme/a1"}
    assert set(cell.deployment("sink/acme/ledger").private) == set(cell.deployment("sink/acme/ledger").dials) == set()
    assert cell.deployment("replica/2").port == 7102


def test_all_problems_are_told_at_once_with_line_and_column(tmp_path: Path) -> None:
    text = (
        config.EXAMPLE.replace("lease: 5s", "lease: 5")
        .replace("replicas:", "quorum: 1\nreplicas:")
        .replace('"127.0.0.1:7102"', '"127.0.0.1:99999"')
        .replace('"127.0.0.1:7203"', '"127.0.0.1:7101"')
        .replace("class: F", "class: G")
        .replace("sinks: [ledger]", "sinks: [ledgr]")
        .replace("labels:", "lables:")
        .replace("alice: {roles: [operator], tenants: [acme]}", "alice: {roles: [operator], tenants: [acmee]}")
    )
    assert problems(tmp_path, text) == [
        "5:9: times.lease: not a duration such as 30s, 250ms, 5m or 1h (got 5)",
        "7:1: quorum: with 3 replicas, k + q > 3 and 2 q > 3 have to hold (got k = 2, q = 1); leave both quorums out for majorities",
        "10:7: replicas.2.listen: no such port: they go from 1 to 65535 (got '127.0.0.1:99999')",
        "11:33: replicas.3.api: replicas.1.listen listens there already (got '127.0.0.1:7101'); give each a port of its own",
        "16:16: tenants.acme.sinks.ledger.class: Input should be 'F', 'C' or 'U' (got 'G')",
        "18:20: tenants.acme.agents.a1.sinks.0: no such sink of acme (got 'ledgr'); did you mean ledger?",
        "18:28: tenants.acme.agents.a1.lables: no such setting; did you mean labels?",
        "21:40: people.alice.tenants.0: no such tenant (got 'acmee'); did you mean acme?",
    ]


@pytest.mark.parametrize("quorum", ["true", "'1'", "1.0", "0x1", "&q 1", "[1]", "{}"])
def test_no_way_of_writing_it_gets_an_unsafe_quorum_past(quorum: str, tmp_path: Path) -> None:
    (only,) = problems(tmp_path, config.EXAMPLE.replace("replicas:", f"quorum: {quorum}\nreplicas:"))
    assert only.startswith("7:1: quorum: ")


@pytest.mark.parametrize("text", ["replicas: []", "replicas: {1: 5}", "tenants: 5", "tenants: {acme: []}", "people: [1]"])
def test_a_part_without_its_form_is_told_and_not_looked_into(text: str, tmp_path: Path) -> None:
    assert problems(tmp_path, f"cell: demo\ntrust-domain: demo.example\n{text}\n")


def test_names_may_be_numbers(tmp_path: Path) -> None:
    text = config.EXAMPLE.replace("acme:", "7:").replace("[acme]", '["7"]').replace("ledger", "1")
    assert loaded(tmp_path, text).nodes[3:5] == ("sink/7/1", "sidecar/7/a1")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("replicas:", "kill-quorum: 1\nreplicas:", "k + q > 3 and 2 q > 3 have to hold (got k = 1, q = 2)"),
        ("replicas:", "quorum: 1\nkill-quorum: 3\nreplicas:", "have to hold (got k = 3, q = 1)"),
        ("sinks: [ledger]", "sinks: [books]", "no such sink of acme (got 'books')"),
        ("tenants: [acme]", "tenants: [acne]", "no such tenant (got 'acne')"),
        ("  acme:\n", "  system:\n", "system is the name of the cell's own part"),
        ("renew: 1s", "renew: 5s", "renew: has to be shorter than lease"),
        ("cell: demo", "cell: demo\ncell: other", "duplicate key"),
        ("cell: demo", "cell: ../demo", "not a name"),
        ("cell: demo\n", "", "Field required"),
        ("replicas:", "policy: none.cedar\nreplicas:", "cannot be read"),
        ("cell: demo", "cell: [", "but got"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert any(said in problem for problem in problems(tmp_path, config.EXAMPLE.replace(old, new)))


def test_a_policy_that_does_not_parse_is_refused_before_it_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "p.cedar").write_text("permit (principal")
    with pytest.raises(ConfigInvalid, match="policy: "):
        loaded(tmp_path, config.EXAMPLE.replace("replicas:", "policy: p.cedar\nreplicas:"))


def test_nobody_has_more_than_a_line_gives(tmp_path: Path) -> None:
    keyset = loaded(tmp_path).keyset()

    def may(person: str, action: str, tenant: str = "acme", scope: str = "tenant") -> bool:
        return keys.authorised(keyset, person, action, tenant, scope)

    assert may("alice", keys.REQUEST) and may("bob", keys.APPROVE_RESUME)
    assert not may("alice", keys.REQUEST, "globex") and not may("alice", keys.REQUEST, scope="global")
    assert not may("alice", keys.APPROVE_RESUME) and not may("bob", keys.REQUEST)
    assert not any(may(person, keys.SIGN_ORDER) for person in ("alice", "bob", "carol", "sidecar/acme/a1", "sink/acme/ledger"))
    assert keys.speaks_for(keyset, "sidecar/acme/a1", "acme/a1") and not keys.speaks_for(keyset, "sidecar/acme/a1", "acme/a2")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty; `killswitch pki DIR` writes an example"), (b"- a\n", "not a mapping of settings"), (b"\0", "a cell's file is YAML in UTF-8"),
        (bytes(range(256)), "a cell's file is YAML in UTF-8"), (b"[" * 20_000, "nested deeper than 16 levels"), (b"{a: " * 5_000, "nested deeper"),
        (b"#" * (config.BYTES_MAX + 1), "larger than 1024 KiB"),
    ],
)  # fmt: skip
def test_what_is_no_file_of_a_cell_is_refused_by_name(content: bytes, said: str, tmp_path: Path) -> None:
    file = tmp_path / "cell.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigInvalid) as caught:
        config.load(file)
    assert str(caught.value).startswith(f"{file}:")
    assert said in str(caught.value)


def test_an_empty_policy_is_not_the_one_that_comes_with_killswitch(tmp_path: Path) -> None:
    (tmp_path / "mine.cedar").write_text("\n")
    found = problems(tmp_path, f"policy: mine.cedar\n{config.EXAMPLE}")
    assert found == [f"{tmp_path / 'mine.cedar'}: policy: empty; leave it out for the policy that comes with killswitch"]


def test_a_pipe_in_the_place_of_a_cells_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "cell.yaml")
    with pytest.raises(ConfigInvalid, match="not a regular file"):
        config.load(tmp_path / "cell.yaml")
