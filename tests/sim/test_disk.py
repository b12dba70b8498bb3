"""The disk: what is durable when, and what each way to die leaves."""

from __future__ import annotations

import pytest

from killswitch.core import audit
from killswitch.core.audit import Chain
from killswitch.core.events import CheckpointDurable, DiskFailed, DiskFreed, DiskFull, Durable, Input, Record, WriteCheckpoint
from scenarios.schedule import DiskSpec
from scenarios.schedule import Tape as TapeSpec
from sim.disk import Disk, Loss
from sim.queue import Queue
from sim.tape import Tape

MS = 1_000_000
SYNC_NS = 10 * MS
SPEC = DiskSpec(sync_ns=SYNC_NS, jitter_ns=0)


def records(count: int) -> list[Record]:
    chain = Chain("boot-1")
    return [chain.append("INTENT", {"n": number}, number).record for number in range(count)]


class Bench:
    """A disk and what it told its node: (time, input)."""

    def __init__(self, **survives: int) -> None:
        """``survives``: the log's and the slot's draw at a power loss, in this order of the stream."""
        fixed = {"disk.survives/n": {str(("log", "slot").index(what)): choice for what, choice in survives.items()}}
        self.queue = Queue(lambda: 0)
        self.given: list[tuple[int, Input]] = []
        tape = Tape(TapeSpec(seed="7", fixed=fixed))
        self.disk = Disk("n", self.queue, tape, SPEC, lambda event: self.given.append((self.queue.now, event)))

    def append(self, count: int) -> list[Record]:
        made = records(count)
        for record in made:
            self.disk.append(record)
        return made

    def play(self, until: int) -> list[tuple[int, Input]]:
        self.queue.play(until)
        return self.given


def test_a_sync_covers_what_was_written_before_it_began_and_the_next_one_the_rest() -> None:
    bench = Bench()
    first, *rest = records(3)
    bench.disk.append(first)
    for record in rest:
        bench.queue.at(MS, bench.disk.append, record)
    assert bench.play(1000 * MS) == [(SYNC_NS, Durable(1)), (2 * SYNC_NS, Durable(3))]  # group commit: two records, one sync
    assert bench.disk.durable == 3


def test_a_slow_disk_takes_longer_by_all_its_faults() -> None:
    bench = Bench()
    bench.disk.slow_ns = {"one": 5 * MS, "two": 7 * MS}
    bench.append(1)
    assert bench.play(100 * MS) == [(SYNC_NS + 12 * MS, Durable(1))]


def test_a_failed_sync_is_final_for_the_process_that_saw_it() -> None:
    bench = Bench()
    made = bench.append(1)
    bench.play(15 * MS)
    bench.disk.failing |= {"f"}
    bench.disk.append(records(2)[1])
    bench.play(30 * MS)
    bench.disk.failing = frozenset()
    bench.disk.append(records(3)[2])
    bench.disk.write_checkpoint(WriteCheckpoint(1, b"c"))
    assert bench.play(100 * MS) == [(SYNC_NS, Durable(1)), (25 * MS, DiskFailed(2))]
    assert bench.disk.records == made  # the pages of a failed sync are dropped, and what comes after is not taken
    assert bench.disk.broken


def test_a_full_disk_takes_prohibitions_into_its_reserve_with_what_waits_before_them_and_the_rest_when_there_is_room() -> None:
    chain, bench, fired = Chain("boot-1"), Bench(), list[str]()
    made = [chain.append(kind, {"n": 0}, 0).record for kind in ("INTENT", "ORDER_LEARNED", "EVIDENCE", "INTENT")]
    bench.disk.fill("f", 2, fired.append)
    for record in made[:3]:
        bench.disk.append(record)
    assert bench.disk.records == made[:2]  # the third finds the reserve used up, whatever it is
    assert bench.play(15 * MS) == [(SYNC_NS, DiskFull(1)), (SYNC_NS, Durable(2))]
    bench.disk.append(made[3])
    bench.queue.at(20 * MS, bench.disk.free, "f")
    assert bench.play(100 * MS)[2:] == [(20 * MS, DiskFreed()), (20 * MS + SYNC_NS, Durable(4))]
    assert bench.disk.records == made
    assert fired == ["f"] * 4


def test_what_waits_for_room_is_gone_with_its_process() -> None:
    bench = Bench()
    bench.disk.fill("f", 0, lambda fault: None)
    bench.append(2)
    bench.disk.process_died()
    assert bench.disk.recover() == ((), 0)
    bench.disk.free("f")
    assert bench.play(100 * MS) == []  # nor is a new process told of what only the old one had asked for


def test_after_a_failure_a_new_process_may_write_again() -> None:
    bench = Bench()
    bench.disk.failing |= {"f"}
    made = bench.append(1)
    bench.play(20 * MS)
    bench.disk.failing = frozenset()
    bench.disk.process_died()
    bench.disk.append(made[0])
    assert bench.play(100 * MS)[-1] == (30 * MS, Durable(1))


def test_the_page_cache_outlives_the_process() -> None:
    bench = Bench()
    made = bench.append(3)
    bench.disk.process_died()
    assert (bench.disk.records, bench.disk.durable) == (made, 3)
    assert bench.play(100 * MS) == []  # nobody is left to be told


@pytest.mark.parametrize("lost", [0, 1, 2])
def test_a_power_loss_keeps_what_was_synced_and_a_prefix_of_the_rest(lost: int) -> None:
    bench = Bench(log=lost)
    made = bench.append(3)
    bench.play(15 * MS)
    assert bench.disk.durable == 1
    assert bench.disk.power_lost() == lost
    assert bench.disk.records == made[: 3 - lost]
    assert bench.disk.durable == 3 - lost
    assert bench.play(100 * MS) == [(SYNC_NS, Durable(1))]


def test_a_power_loss_never_takes_what_was_durable() -> None:
    bench = Bench(log=999)
    made = bench.append(3)
    bench.play(SYNC_NS + 1)
    assert bench.disk.durable == 1
    assert bench.disk.power_lost() == 2
    assert bench.disk.records == made[:1]


def at_step(bench: Bench, done: int) -> None:
    """Begin generation 3 where generation 1 lies, and stop when ``done`` of its three syncs are."""
    bench.disk.slots = {1: b"old"}
    bench.disk.write_checkpoint(WriteCheckpoint(3, b"new"))
    bench.play(done * SYNC_NS + MS)


@pytest.mark.parametrize(
    ("done", "survives", "left"),
    [(0, 0, b"old"), (1, 0, b"old"), (2, 0, b"new"), (2, 1, b"old"), (3, 0, b"new"), (3, 1, b"new")],
)
def test_a_power_loss_at_each_step_of_a_checkpoint_leaves_the_old_or_the_new_and_never_half(done: int, survives: int, left: bytes) -> None:
    bench = Bench(slot=survives)
    at_step(bench, done)
    bench.disk.power_lost()
    assert bench.disk.checkpoints() == (left,)
    told = [event for _, event in bench.given]
    assert told == ([CheckpointDurable(3)] if done == 3 else [])
    assert bench.play(100 * MS) == bench.given


@pytest.mark.parametrize(("done", "left"), [(1, b"old"), (2, b"new")])
def test_a_process_death_in_a_checkpoint_leaves_what_the_page_cache_says(done: int, left: bytes) -> None:
    bench = Bench()
    at_step(bench, done)
    bench.disk.process_died()
    assert bench.disk.checkpoints() == (left,)
    assert bench.play(100 * MS) == []


def test_a_first_checkpoint_that_is_lost_leaves_an_empty_slot() -> None:
    bench = Bench(slot=1)
    bench.disk.write_checkpoint(WriteCheckpoint(1, b"new"))
    bench.play(2 * SYNC_NS + MS)
    bench.disk.power_lost()
    assert bench.disk.checkpoints() == ()


def test_generations_take_turns_in_two_slots() -> None:
    bench = Bench()
    for generation in (1, 2, 3):
        bench.disk.write_checkpoint(WriteCheckpoint(generation, f"{generation}".encode()))
        bench.play(bench.queue.now + 3 * SYNC_NS + MS)
    assert bench.disk.checkpoints() == (b"2", b"3")


def test_a_checkpoint_on_a_failing_disk_is_a_failed_disk() -> None:
    bench = Bench()
    bench.disk.failing |= {"f"}
    bench.disk.write_checkpoint(WriteCheckpoint(1, b"new"))
    assert bench.play(100 * MS) == [(SYNC_NS, DiskFailed(0))]
    assert bench.disk.checkpoints() == ()


# -- disks that tear, reorder, lie and rot


def unsynced(loss: Loss, *survives: int) -> tuple[Bench, list[Record]]:
    """One durable record and three that are not, when the power goes; ``survives``: the draws, in order."""
    bench = Bench()
    bench.disk = Disk("n", bench.queue, Tape(TapeSpec(seed="7", fixed={"disk.survives/n": {str(n): draw for n, draw in enumerate(survives)}})), SPEC,
                      lambda event: bench.given.append((bench.queue.now, event)))  # fmt: skip
    made = bench.append(4)
    bench.play(SYNC_NS + 1)
    assert bench.disk.durable == 1
    bench.disk.loss = loss
    return bench, made


def test_a_torn_write_leaves_half_a_record_which_is_cut_at_the_next_boot() -> None:
    bench, made = unsynced(Loss.TORN, 2)
    assert bench.disk.power_lost() == 2
    assert bench.disk.recover() == (tuple(made[:2]), len(audit.written(made[2])) // 2)
    assert (bench.disk.records, bench.disk.durable) == (made[:2], 2)
    assert bench.disk.recover()[1] > 0, "nothing has been written over it"
    bench.append(1)
    assert bench.disk.recover()[1] == 0


@pytest.mark.parametrize("synced", [True, False])
def test_what_was_cut_is_there_again_if_the_record_that_says_so_is_lost(synced: bool) -> None:
    bench, _made = unsynced(Loss.TORN, 2, 1)
    bench.disk.power_lost()
    cut = bench.disk.recover()
    bench.append(1)
    if synced:
        bench.play(3 * SYNC_NS)
    bench.disk.power_lost()
    assert bench.disk.recover() == ((tuple(bench.disk.records), 0) if synced else cut)


@pytest.mark.parametrize(("arrived", "left"), [((1, 0, 0), 1), ((0, 1, 0), 2), ((0, 0, 1), 3), ((1, 1, 1), 1), ((0, 0, 0), 4)])
def test_of_reordered_writes_any_may_arrive_and_those_behind_a_hole_count_for_nothing(arrived: tuple[int, ...], left: int) -> None:
    bench, made = unsynced(Loss.REORDERED, *arrived)
    bench.disk.power_lost()
    assert bench.disk.recover()[0] == tuple(made[:left])


def test_the_way_that_writes_are_lost_is_that_of_one_power_loss() -> None:
    bench, _ = unsynced(Loss.REORDERED, 1, 1, 1)
    bench.disk.power_lost()
    assert bench.disk.loss is Loss.SUFFIX


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_torn_checkpoint_is_half_new_and_half_old(done: int) -> None:
    bench = Bench()
    bench.disk.slots = {1: b"old!"}
    bench.disk.write_checkpoint(WriteCheckpoint(3, b"new?"))
    bench.play(done * SYNC_NS + MS)
    bench.disk.loss = Loss.TORN
    bench.disk.power_lost()
    assert bench.disk.checkpoints() == (b"old!" if done == 0 else b"ned!",)


def test_a_lying_disk_loses_what_it_called_durable_and_a_truthful_one_keeps_it() -> None:
    for truthful in (False, True):
        bench, told = Bench(log=3, slot=1), list[str]()
        bench.disk.lying = {"f": told.append}
        made = bench.append(3)
        bench.disk.write_checkpoint(WriteCheckpoint(1, b"c"))
        assert Durable(3) in [event for _, event in bench.play(100 * MS)]
        assert told == ["f", "f", "f"]  # two syncs of the log, one checkpoint
        assert bench.disk.safe == 0
        if truthful:
            bench.disk.tell_truth("f")
        assert bench.disk.power_lost() == (0 if truthful else 3)
        assert (bench.disk.records, bench.disk.checkpoints()) == ((made, (b"c",)) if truthful else ([], ()))


def test_a_process_that_dies_makes_no_lie_true() -> None:
    bench = Bench(log=2)
    bench.disk.lying = {"f": lambda fault: None}
    bench.append(2)
    bench.play(100 * MS)
    bench.disk.process_died()
    assert bench.disk.power_lost() == 2


def test_a_flipped_bit_is_found_at_the_next_boot_and_not_before() -> None:
    bench = Bench()
    assert not bench.disk.flip(slots=False)
    assert not bench.disk.flip(slots=True)
    made = bench.append(3)
    bench.play(100 * MS)
    assert bench.disk.flip(slots=False)
    assert bench.disk.records == made
    ((lsn, left),) = bench.disk.damaged.items()
    was = audit.written(made[lsn - 1])
    assert sum((one ^ other).bit_count() for one, other in zip(was, left, strict=True)) == 1
    assert bench.disk.recover()[0] == tuple(made[: lsn - 1])
    bench.disk.slots = {0: b"content"}
    assert bench.disk.flip(slots=True)
    assert bench.disk.slots[0] != b"content"


def test_a_new_disk_holds_nothing() -> None:
    bench = Bench()
    bench.append(2)
    bench.play(100 * MS)
    bench.disk.slots = {0: b"content"}
    bench.disk.wipe()
    assert (bench.disk.recover(), bench.disk.checkpoints(), bench.disk.durable) == (((), 0), (), 0)
