"""Names of nodes and SPIFFE ids: one to one, and nothing else passes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from killswitch.live import spiffe

NAMES = {
    "replica/1": "spiffe://cell.example/tenant/system/cp/1",
    "operator": "spiffe://cell.example/tenant/system/operator",
    "operator/alice": "spiffe://cell.example/tenant/system/operator/alice",
    "sidecar/acme/a1": "spiffe://cell.example/tenant/acme/sidecar/a1",
    "agent/acme/a1": "spiffe://cell.example/tenant/acme/agent/a1",
    "sink/acme/ledger": "spiffe://cell.example/tenant/acme/sink/ledger",
}


@pytest.mark.parametrize(("node", "uri"), NAMES.items())
def test_there_and_back(node: str, uri: str) -> None:
    assert spiffe.spiffe_id("cell.example", node) == uri
    assert spiffe.node_of("cell.example", uri) == node


@pytest.mark.parametrize(
    "node", ["", "replica", "replica/", "replica/1/2", "sidecar/acme", "sidecar/system/1", "sidecar/a/..", "cp/1", "agent/a/b c", "operator/"]
)
def test_what_is_no_node_has_no_id(node: str) -> None:
    with pytest.raises(ValueError, match="no name of a node"):
        spiffe.spiffe_id("cell.example", node)


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://other.example/tenant/system/cp/1",
        "spiffe://cell.example.evil/tenant/system/cp/1",
        "spiffe://cell.example/tenant/system/replica/1",  # another spelling of a name that has one
        "spiffe://cell.example/tenant/system/sidecar/acme/1",
        "spiffe://cell.example/tenant/acme/cp/1",
        "spiffe://cell.example/tenant/acme/operator/alice",
        "spiffe://cell.example/tenant/acme/sidecar/1/",
        "spiffe://cell.example/tenant/acme/sidecar/%31",
        "https://cell.example/tenant/system/cp/1",
        "",
    ],
)
def test_what_is_no_id_names_nobody(uri: str) -> None:
    with pytest.raises(ValueError, match="no SPIFFE id"):
        spiffe.node_of("cell.example", uri)


@given(st.text(alphabet="/.abcprlitsynmeo1-", max_size=40))
def test_no_two_ids_name_one_node(path: str) -> None:
    uri = f"spiffe://cell.example/tenant/{path}"
    try:
        node = spiffe.node_of("cell.example", uri)
    except ValueError:
        return
    assert spiffe.spiffe_id("cell.example", node) == uri
