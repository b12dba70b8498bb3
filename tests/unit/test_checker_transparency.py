"""S16, S17 and L7: good and bad histories of the audit trail."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, SECOND, SIDECAR, Story

ROOT, OTHER = "aa" * 32, "bb" * 32
WITNESSES = ("replica/1", "replica/2", "replica/3")
# 2 leases, a renewal and 4 rounds of gossip on a clock that is 20 % slow; the backoff cap; the slack.
COSIGNED_WITHIN_NS = 16_250_000_000 + 2 * SECOND + 2 * SECOND
# A lease, 4 renewals and 4 rounds of gossip on such a clock; the backoff cap; the slack.
TOLD_WITHIN_NS = 13_750_000_000 + 2 * SECOND + 2 * SECOND


class Trail(Story):
    """A story about logs and heads."""

    def signed(self, size: int, root: str = ROOT, origin: str = SIDECAR, previous: int | None = None) -> int:
        before = 0
        for fact in self.facts:
            if fact.node == origin and fact.kind in ("node-started", "sth-signed"):
                before = fact.body.get("size", 0)
        return self.say("sth-signed", origin, origin=origin, size=size, root=root, previous=before if previous is None else previous)

    def cosigned(self, size: int, *witnesses: str, root: str = ROOT, origin: str = SIDECAR) -> int:
        return [self.say("sth-cosigned", witness, origin=origin, size=size, root=root, witness=witness) for witness in witnesses][-1]

    def grown(self, size: int, origin: str = SIDECAR) -> int:
        return self.say("log-grown", origin, size=size)

    def accused(self, origin: str = SIDECAR, by: str = "replica/1") -> int:
        return self.say("fork-proven", by, origin=origin, first=3, second=4)

    def shown_both(self, replica: str = "replica/2", origin: str = SIDECAR) -> int:
        return self.say("fork-shown", replica, origin=origin, size=3, roots=[ROOT, OTHER])

    def left(self, why: str = "", origin: str = SIDECAR, returned: tuple[str, ...] = ()) -> int:
        return self.say("log-verified", origin, writer=origin, records=9, cosigned=8, sound=not why, why=why, returned=list(returned))

    def stamped(self, stamps: list[int], references: list[list[object]] | None = None, origin: str = SIDECAR, clocks: list[int] | None = None) -> int:
        clocks = list(range(len(stamps))) if clocks is None else clocks
        return self.say("log-stamped", origin, writer=origin, stamps=stamps, clocks=clocks, boots=[1], references=references or [])


def begun() -> Trail:
    story = Trail()
    story.start_all()
    return story


class TestAuditTamper:
    @pytest.mark.parametrize(("then", "verdict"), [
        ("said", Verdict.VALID), ("nothing", Verdict.INVALID), ("died at once", Verdict.VALID), ("died later", Verdict.INVALID),
    ])  # fmt: skip
    def test_who_starts_on_what_is_left_of_a_log_says_so(self, then: str, verdict: Verdict) -> None:
        story = begun()
        story.crash("replica/1", power=True)
        story.start("replica/1", boot="boot-2")
        cut = story.say("log-truncated", "replica/1", bytes=7)
        if then == "said":
            story.say("log-cut", "replica/1", records=3, why="unreadable")
        elif then.startswith("died"):
            story.at(1 if then == "died later" else 0).crash("replica/1")
        finding = story.judged("S16")
        assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (cut,))

    def test_a_trail_that_is_what_was_witnessed(self) -> None:
        story = begun()
        story.signed(3)
        story.cosigned(3, *WITNESSES)
        story.left()
        finding = story.judged("S16")
        assert (finding.verdict, finding.examined) == (Verdict.VALID, 5)

    @pytest.mark.parametrize(
        ("start_again", "previous", "verdict"),
        [(False, 3, Verdict.VALID), (False, 0, Verdict.INVALID), (False, 2, Verdict.INVALID), (True, 0, Verdict.VALID), (True, 3, Verdict.INVALID)],
    )
    def test_a_head_names_the_one_before_it(self, start_again: bool, previous: int, verdict: Verdict) -> None:
        story = begun()
        first = story.signed(3)
        if start_again:
            story.crash(SIDECAR)
            story.say("node-started", SIDECAR, boot="boot-1", instance="b", records=4)
        second = story.signed(5, previous=previous)
        finding = story.judged("S16")
        assert finding.verdict is verdict
        assert verdict is Verdict.VALID or finding.witness == ((second,) if start_again else (first, second))

    @pytest.mark.parametrize("durable", [True, False])
    def test_a_cosignature_that_its_witness_may_forget(self, durable: bool) -> None:
        story = begun()
        story.signed(3)
        if durable:
            story.cosigned(3, "replica/1")
        else:
            story.cosigned(3, "replica/2")
        index = story.say("cosignature-sent", "replica/1", origin=SIDECAR, size=3, root=ROOT, witness="replica/1")
        finding = story.judged("S16")
        assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if durable else (Verdict.INVALID, (index,)))

    @pytest.mark.parametrize(("size", "held"), [(2, False), (3, False), (4, True)])
    @pytest.mark.parametrize("lost", [True, False])
    def test_a_witness_that_begins_anew(self, size: int, held: bool, lost: bool) -> None:
        story = begun()
        if lost:
            story.fault("disk-lost", "replica/1")
        before = story.cosigned(3, "replica/1")
        story.crash("replica/1")
        story.start("replica/1", boot="boot-2", instance="b")
        index = story.cosigned(size, "replica/1")
        finding = story.judged("S16")
        assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if held or lost else (Verdict.INVALID, (before, index)))

    def test_two_witnesses_need_not_be_equally_far(self) -> None:
        story = begun()
        story.cosigned(4, "replica/1")
        story.cosigned(3, "replica/2")
        story.cosigned(2, "replica/1", origin="replica/3")
        assert story.judged("S16").verdict is Verdict.VALID

    @pytest.mark.parametrize("lost", [True, False])
    def test_a_witness_of_both_hosts_logs(self, lost: bool) -> None:
        story = begun()
        if lost:
            story.fault("disk-lost", "replica/2")
        story.say("node-cloned", SIDECAR, copy=f"{SIDECAR}~2", records=3)
        story.accused()
        index = story.left("is not the log that was cosigned at size 4", returned=("replica/2",))
        finding = story.judged("S16")
        assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if lost else (Verdict.INVALID, (index,)))

    @pytest.mark.parametrize(
        ("later_ns", "by", "verdict"), [(0, "replica/2", Verdict.VALID), (1, "replica/2", Verdict.INVALID), (0, "replica/1", Verdict.INVALID)]
    )
    def test_who_is_shown_two_logs_proves_that_itself(self, later_ns: int, by: str, verdict: Verdict) -> None:
        story = begun()
        story.say("node-cloned", SIDECAR, copy=f"{SIDECAR}~2", records=3)
        shown = story.shown_both()
        story.at(later_ns).accused(by=by)
        finding = story.judged("S16")
        assert finding.verdict is verdict
        assert shown in finding.witness or verdict is Verdict.VALID

    @pytest.mark.parametrize("excuse", ["proven before", "died in that step", "dropped what it was told"])
    def test_who_need_not_prove_it(self, excuse: str) -> None:
        story = begun()
        story.say("node-cloned", SIDECAR, copy=f"{SIDECAR}~2", records=3)
        if excuse == "proven before":
            story.accused(by="replica/2")
        elif excuse == "dropped what it was told":
            story.say("over-share", "replica/2", sender="replica/1", dropped=1)
        story.at(SECOND).shown_both()
        if excuse == "died in that step":
            story.crash("replica/2")
        assert story.judged("S16").verdict is Verdict.VALID

    def test_a_later_crash_excuses_nothing(self) -> None:
        story = begun()
        shown = story.shown_both()
        story.at(1).crash("replica/2")
        finding = story.judged("S16")
        assert (finding.verdict, finding.witness) == (Verdict.INVALID, (shown,))

    def test_a_log_that_is_not(self) -> None:
        story = begun()
        story.cosigned(3, *WITNESSES)
        index = story.left("ends at 2, below the cosigned size 3")
        finding = story.judged("S16")
        assert (finding.verdict, finding.witness) == (Verdict.INVALID, (index,))

    def test_a_writer_with_two_heads(self) -> None:
        story = begun()
        one, two = story.signed(3), story.signed(3, OTHER)
        story.accused()
        finding = story.judged("S16")
        assert (finding.verdict, finding.witness) == (Verdict.INVALID, (one, two))

    def test_two_witnesses_with_two_views(self) -> None:
        story = begun()
        story.cosigned(3, "replica/1")
        story.cosigned(3, "replica/2", root=OTHER)
        assert story.judged("S16").verdict is Verdict.INVALID

    def test_a_sound_writer_that_is_accused(self) -> None:
        story = begun()
        story.signed(3)
        index = story.accused()
        story.left()
        finding = story.judged("S16")
        assert finding.verdict is Verdict.INVALID
        assert index in finding.witness

    def test_a_writer_that_lost_its_log_is_accused_of_what_it_signed(self) -> None:
        """Its witnesses lost theirs, too, and the log that it keeps is all that is left to compare with (seed 30058 of swarm-disks)."""
        for lost in (True, False):
            story = begun()
            story.signed(6)
            if lost:
                story.fault("disk-lost", SIDECAR)
            index = story.signed(3)
            story.accused()
            story.left()
            finding = story.judged("S16")
            assert finding.verdict is (Verdict.VALID if lost else Verdict.INVALID)
            assert finding.witness == (() if lost else (index,))

    def test_a_new_log_that_has_outgrown_the_lost_one(self) -> None:
        """The head that it confesses with is not shown to anybody: what it started with tells that it has begun anew (seed 30493)."""
        for lost in (True, False):
            story = begun()
            story.signed(6)
            if lost:
                story.fault("disk-lost", SIDECAR)
            story.say("node-started", SIDECAR, boot="boot-2", instance="b", records=0 if lost else 6)
            story.signed(9)
            story.accused()
            story.left()
            assert story.judged("S16").verdict is (Verdict.VALID if lost else Verdict.INVALID)

    def test_a_log_that_a_fault_took_away_has_to_be_found_out(self) -> None:
        for found_out in (True, False):
            story = begun()
            story.fault("disk-lost", SIDECAR)
            story.say("healed", "world")
            if found_out:
                story.accused()
            story.at(COSIGNED_WITHIN_NS + SECOND).left("ends at 2, below the cosigned size 3")
            assert story.judged("S16").verdict is (Verdict.VALID if found_out else Verdict.INVALID)

    def test_finding_out_takes_time(self) -> None:
        story = begun()
        story.fault("disk-lost", SIDECAR)
        story.say("healed", "world")
        story.at(COSIGNED_WITHIN_NS - SECOND).left("ends at 2, below the cosigned size 3")
        assert story.judged("S16").verdict is Verdict.VALID


class TestCausality:
    def test_stamps_that_follow_causes(self) -> None:
        story = begun()
        story.stamped([10, 11, 20])
        story.stamped([5, 12], [[2, SIDECAR, 2]], "replica/1")
        finding = story.judged("S17")
        assert (finding.verdict, finding.examined) == (Verdict.VALID, 5)

    @pytest.mark.parametrize("stamps", [[10, 10], [10, 9]])
    def test_a_stamp_that_does_not_grow(self, stamps: list[int]) -> None:
        story = begun()
        story.stamped(stamps)
        assert story.judged("S17").verdict is Verdict.INVALID

    @pytest.mark.parametrize("stamp", [11, 10])
    def test_a_witness_stamped_before_what_it_saw(self, stamp: int) -> None:
        story = begun()
        cause = story.stamped([10, 11, 20])
        effect = story.stamped([5, stamp], [[2, SIDECAR, 2]], "replica/1")
        finding = story.judged("S17")
        assert (finding.verdict, finding.witness) == (Verdict.INVALID, (cause, effect))

    def test_a_clock_that_went_back(self) -> None:
        story = begun()
        story.stamped([1, 2, 3], clocks=[7, 9, 8])
        assert story.judged("S17").verdict is Verdict.INVALID

    def test_a_clock_that_began_again_with_a_boot(self) -> None:
        story = begun()
        story.say("log-stamped", SIDECAR, writer=SIDECAR, stamps=[1, 2, 3], clocks=[7, 9, 1], boots=[1, 3], references=[])
        assert story.judged("S17").verdict is Verdict.VALID


class TestAuditSync:
    def run_to(self, story: Trail, end_ns: int) -> Trail:
        story.at(end_ns).say("run-ended", "world", reason="complete")
        return story

    def test_in_time(self) -> None:
        story = begun()
        story.say("healed", "world")
        story.at(SECOND).grown(3)
        story.at(3 * SECOND).cosigned(4, *WITNESSES)
        finding = self.run_to(story, 60 * SECOND).judged("L7")
        assert (finding.verdict, finding.examined, finding.observed_ns) == (Verdict.VALID, 3, 2 * SECOND)
        assert finding.bound_ns == COSIGNED_WITHIN_NS

    @pytest.mark.parametrize("late_ns", [-1, 0, 1])
    def test_at_the_bound(self, late_ns: int) -> None:
        story = begun()
        story.say("healed", "world")
        story.at(SECOND).grown(3)
        story.at(SECOND + COSIGNED_WITHIN_NS + late_ns).cosigned(3, *WITNESSES)
        expected = Verdict.INVALID if late_ns > 0 else Verdict.VALID
        assert self.run_to(story, 60 * SECOND).judged("L7").verdict is expected

    def test_never_by_one_of_the_witnesses(self) -> None:
        story = begun()
        story.say("healed", "world")
        index = story.at(SECOND).grown(3)
        story.cosigned(3, "replica/1", "replica/2")
        story.cosigned(2, "replica/3")
        finding = self.run_to(story, 60 * SECOND).judged("L7")
        assert (finding.verdict, finding.witness) == (Verdict.INVALID, (index,))
        assert "replica/3" in finding.why

    def test_nothing_is_due_of_whoever_is_down_caught_or_late(self) -> None:
        for excuse in ("down", "caught", "late", "ended", "never healed"):
            story = begun()
            if excuse != "never healed":
                story.say("healed", "world")
            story.at(SECOND).grown(3)
            if excuse == "caught":
                story.accused(by=SIDECAR)
            if excuse == "down":
                story.crash(SIDECAR)
            if excuse == "late":
                story.at(50 * SECOND).crash(SIDECAR)
                story.at(51 * SECOND).start(SIDECAR)
            end_ns = SECOND + COSIGNED_WITHIN_NS - 1 if excuse == "ended" else 60 * SECOND
            finding = self.run_to(story, end_ns).judged("L7")
            assert (finding.verdict, finding.examined) == (Verdict.VALID, 0), excuse

    def test_a_replica_does_not_witness_itself(self) -> None:
        story = begun()
        story.say("healed", "world")
        story.at(SECOND).grown(3, "replica/1")
        story.cosigned(3, "replica/2", "replica/3", origin="replica/1")
        finding = self.run_to(story, 60 * SECOND).judged("L7")
        assert (finding.verdict, finding.examined) == (Verdict.VALID, 2)


class TestForksAreToldOf:
    """L7: what a replica has proven, everybody comes to know."""

    def proven(self, *, healed: bool = True) -> tuple[Trail, int]:
        story = begun()
        if healed:
            story.say("healed", "world")
        story.at(SECOND)
        index = story.accused(origin="replica/3")
        story.say("fork-durable", "replica/1", origin="replica/3")
        return story, index

    def run_to(self, story: Trail, end_ns: int) -> Trail:
        story.at(end_ns).say("run-ended", "world", reason="complete")
        return story

    def told(self, story: Trail, *nodes: str) -> int:
        return [story.accused(origin="replica/3", by=node) for node in nodes][-1]

    @pytest.mark.parametrize("late_ns", [-1, 0, 1])
    def test_at_the_bound(self, late_ns: int) -> None:
        story, proven = self.proven()
        self.told(story.at(2 * SECOND), "replica/2", "replica/3")
        heard = self.told(story.at(SECOND + TOLD_WITHIN_NS + late_ns), SIDECAR)
        finding = self.run_to(story, 60 * SECOND).judged("L7")
        expected = (Verdict.INVALID, (proven, heard)) if late_ns > 0 else (Verdict.VALID, ())
        assert (finding.verdict, finding.witness) == expected
        assert (finding.bound_ns, finding.examined) == (TOLD_WITHIN_NS, 4)

    @pytest.mark.parametrize("kept", ["replica/2", "replica/3", SIDECAR])
    def test_somebody_is_never_told(self, kept: str) -> None:
        story, proven = self.proven()
        self.told(story, *({"replica/2", "replica/3", SIDECAR} - {kept}))
        finding = self.run_to(story, SECOND + TOLD_WITHIN_NS).judged("L7")
        assert (finding.verdict, finding.witness) == (Verdict.INVALID, (proven,))
        assert finding.why.startswith(kept)

    @pytest.mark.parametrize("excuse", ["down", "late", "ended", "never healed", "clock", "disk", "cannot tell"])
    def test_who_need_not_know(self, excuse: str) -> None:
        story, _ = self.proven(healed=excuse != "never healed")
        self.told(story, "replica/2", "replica/3")
        if excuse == "clock":
            story.fault("clock-drift", SIDECAR)
        if excuse == "disk":
            story.say("disk-failed", SIDECAR, lsn=3)
        if excuse == "cannot tell":
            for replica in WITNESSES:
                story.crash(replica)
        if excuse in ("down", "late"):
            story.at(50 * SECOND).crash(SIDECAR)
        if excuse == "late":
            story.at(51 * SECOND).start(SIDECAR)
        finding = self.run_to(story, SECOND + TOLD_WITHIN_NS - 1 if excuse == "ended" else 60 * SECOND).judged("L7")
        assert finding.verdict is Verdict.VALID

    @pytest.mark.parametrize(("durable", "lost"), [(True, False), (False, False), (True, True)])
    def test_a_crash_forgets_what_was_not_durable(self, durable: bool, lost: bool) -> None:
        story, proven = self.proven()
        self.told(story, "replica/2", "replica/3", SIDECAR)
        if durable:
            story.say("fork-durable", SIDECAR, origin="replica/3")
        if lost:
            story.fault("disk-lost", SIDECAR)
        story.crash(SIDECAR)
        story.start(SIDECAR, boot="boot-2", instance="b")
        finding = self.run_to(story, 60 * SECOND).judged("L7")
        assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if durable else (Verdict.INVALID, (proven,)))

    def test_what_proves_durable_at_the_next_boot_is_known(self) -> None:
        story, _ = self.proven()
        self.told(story, "replica/2", "replica/3", SIDECAR)
        story.crash(SIDECAR)
        story.start(SIDECAR, boot="boot-2", instance="b")
        story.say("fork-durable", SIDECAR, origin="replica/3")
        assert self.run_to(story, 60 * SECOND).judged("L7").verdict is Verdict.VALID

    def test_a_fork_concerns_the_cell_that_proved_it(self) -> None:
        story = Trail(agents=(AGENT, "acme/2"), homes=("acme/2",))
        story.start_all()
        story.say("healed", "world")
        self.told(story.at(SECOND), *WITNESSES, SIDECAR)
        finding = self.run_to(story, 60 * SECOND).judged("L7")
        assert (finding.verdict, finding.examined) == (Verdict.VALID, 4)
