"""Logs of several writers become one trail in which every cause stands before its effect."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from killswitch.core import audit_merge, hlc
from killswitch.core.audit_merge import Stamped, linear, union
from tests.unit.causes import first_disorder
from tests.unit.trails import grown

SKEW_MS = {"replica/1": 40_000, "replica/2": 0, "sidecar/acme/1": 90_000, "sidecar/acme/2": 5, "sidecar/globex/1": 1}


def stamped() -> list[Stamped]:
    """The trail of `grown`, stamped as drivers do: by wall clocks far apart, and by what each writer had heard from the others."""
    logs = grown()
    entries: dict[tuple[str, int], Stamped] = {}
    pending = {writer: list(log.records) for writer, log in logs.items()}
    last = dict.fromkeys(logs, 0)
    while any(pending.values()):
        for writer, rows in pending.items():
            heard = [(each.origin, each.size) for each in audit_merge.references(writer, rows[:1])]
            if rows and all(cause in entries for cause in heard):
                record = rows.pop(0)
                wall_ms = SKEW_MS[writer] + record.seq
                for cause in heard:
                    last[writer] = hlc.merge(last[writer], entries[cause].stamp, wall_ms)
                last[writer] = hlc.tick(last[writer], wall_ms)
                entries[writer, record.seq] = Stamped(writer, record, last[writer])
    return list(entries.values())


TRAIL = stamped()


def test_the_view_is_a_linear_extension() -> None:
    view = linear(union(TRAIL))
    assert len(view) == len(TRAIL)
    assert first_disorder(view) is None
    for writer in SKEW_MS:
        assert [entry.record.seq for entry in view if entry.writer == writer] == [entry.record.seq for entry in TRAIL if entry.writer == writer]


@given(st.lists(st.lists(st.sampled_from(TRAIL))), st.permutations(TRAIL))
def test_union_does_not_care_how_the_copies_came(copies: list[list[Stamped]], shuffled: list[Stamped]) -> None:
    whole = union(TRAIL)
    assert union(*copies, shuffled) == whole == union(shuffled, *copies, TRAIL)
    assert linear(union(shuffled, *copies)) == linear(whole)


@given(st.sets(st.sampled_from(range(len(TRAIL)))))
def test_a_trail_in_part_is_still_in_order(kept: set[int]) -> None:
    assert first_disorder(linear(union(TRAIL[place] for place in kept))) is None


def test_the_earlier_stamp_is_the_writers() -> None:
    late = [structs.replace(entry, stamp=entry.stamp + 1) for entry in TRAIL]
    assert union(late, TRAIL) == union(TRAIL, late) == union(TRAIL)


class TestDisorder:
    def test_an_effect_stamped_before_its_cause(self) -> None:
        """A witness that ignores the stamps of others, behind a clock that is slow."""
        slow = [structs.replace(entry, stamp=entry.record.seq) if entry.writer == "replica/2" else entry for entry in TRAIL]
        found = first_disorder(linear(union(slow)))
        assert found is not None
        assert (found.writer, found.why[:24]) == ("replica/2", "its stamp is not greater")

    def test_a_clock_that_was_taken_at_its_word(self) -> None:
        same = [structs.replace(entry, stamp=7) if entry.writer == "sidecar/acme/1" else entry for entry in TRAIL]
        found = first_disorder(linear(union(same)))
        assert found is not None
        assert (found.writer, found.seq) == ("sidecar/acme/1", 2)

    def test_a_view_that_was_shuffled(self) -> None:
        view = linear(union(TRAIL))
        found = first_disorder([*view[1:], view[0]])
        assert found is not None
