"""The world's own reading of who may change the keyset."""

from __future__ import annotations

import pytest

from harness.shared.judge import Judge
from killswitch.core import keysets
from killswitch.core.keychanges import KeyChange
from tests.unit.pair import REPLICAS, SIGNER


@pytest.mark.parametrize(("change", "by", "authentic"), [
    (KeyChange(2, ""), ("root/1", "root/2"), True), (KeyChange(2, ""), ("root/1",), False), (KeyChange(2, ""), ("root/1", "mallory"), False),
    (KeyChange(2, "", roots=("mallory",), threshold=1), ("root/1", "root/2"), False),
    (KeyChange(2, "", roots=("mallory",), threshold=1), ("root/1", "root/2", "mallory"), True),
    (KeyChange(2, "", roots=("root/1", "mallory")), ("root/1", "root/2"), False), (KeyChange(3, ""), ("root/1", "root/2"), False),
])  # fmt: skip
def test_a_change_of_the_keyset_takes_the_roots_before_it_and_those_that_it_names(change: KeyChange, by: tuple[str, ...], authentic: bool) -> None:
    signed = keysets.sign_change(SIGNER, change, by)
    assert Judge(SIGNER, REPLICAS, 2).keyset(signed.raw, [(each.key, each.signature) for each in signed.signatures]) is authentic


def test_roots_that_were_named_sign_the_next_change() -> None:
    judge = Judge(SIGNER, REPLICAS, 2)
    named = KeyChange(2, "", roots=("mallory",), threshold=1)
    verdicts = []
    for change, by in ((named, ("root/1", "root/2", "mallory")), (KeyChange(3, "x"), ("root/1", "root/2")), (KeyChange(3, "x"), ("mallory",))):
        signed = keysets.sign_change(SIGNER, change, by)
        verdicts.append(judge.keyset(signed.raw, [(each.key, each.signature) for each in signed.signatures]))
    assert verdicts == [True, False, True]
