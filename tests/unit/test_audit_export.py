"""Exports of a tenant's records: what is in them, and that whatever is done to one is found (S16)."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from killswitch.core import audit, audit_export, codec, intent, transparency
from killswitch.core.audit_export import Export, LogExport, Report, export, verify
from killswitch.core.events import Record
from killswitch.core.messages import OrderBody
from tests.unit.trails import SIGNER, WITNESSES, WRITERS, Log, grown, order, records

ACME = export(records(grown()), "acme")


def checked(exported: Export) -> Report:
    return verify(exported, SIGNER, WITNESSES, dict.fromkeys(WRITERS, 1))


def log_of(exported: Export, writer: str) -> LogExport:
    return next(log for log in exported.logs if log.writer == writer)


def with_log(exported: Export, changed: LogExport) -> Export:
    return structs.replace(exported, logs=tuple(changed if log.writer == changed.writer else log for log in exported.logs))


class TestContent:
    def test_a_true_export_verifies_and_says_how_far(self) -> None:
        report = checked(ACME)
        assert report.sound, report
        assert set(report.covered) == {"replica/1", "replica/2", "sidecar/acme/1", "sidecar/acme/2"}
        assert all(report.covered.values())
        assert report.records == sum(len(log.records) for log in ACME.logs)

    def test_it_survives_its_file_form(self) -> None:
        assert msgspec.json.decode(msgspec.json.encode(ACME), type=Export) == ACME

    def test_it_holds_the_tenants_records_and_nobody_elses(self) -> None:
        shown = [(record.kind, audit.content(record)) for record in log_of(ACME, "replica/1").records]
        own = "ORDER_ACCEPTED DECISION ORDER_EFFECTIVE PROMISE CERT_ACCEPTED DECISION"
        assert [kind for kind, _ in shown] == ["BOOT", *own.split(), "ORDER_ACCEPTED", "BOOT", "BOOT", "COSIG"]
        orders = [codec.unpack(body["raw"], OrderBody) for kind, body in shown if kind == "ORDER_ACCEPTED"]
        assert [(order.tenant, order.scope.kind) for order in orders if order] == [("acme", "tenant"), ("globex", "global")]
        told = [body for kind, body in shown if kind in ("DECISION", "PROMISE")]
        assert not any(b"globex" in audit.canonical(body) for body in told)

    def test_no_name_of_another_tenants_node_is_in_it(self) -> None:
        """A cosignature record that speaks of several tenants is shown to none of them."""
        texts = [audit.canonical(audit.content(record)) for log in ACME.logs for record in log.records if record.kind == audit.COSIG]
        assert texts
        assert not any(b"sidecar/globex" in text for text in texts)
        assert not any("globex" in log.writer for log in ACME.logs)

    def test_every_record_under_the_last_head_has_its_proof(self) -> None:
        for log in ACME.logs:
            found = transparency.read_note(log.heads[-1])
            assert found is not None
            assert [bool(proof) for proof in log.proofs] == [record.seq <= found[0].size for record in log.records]

    def test_every_tenant_gets_his_own(self) -> None:
        assert checked(export(records(grown()), "globex")).sound
        assert {log.writer for log in export(records(grown()), "nobody").logs} == {"replica/1", "replica/2"}


class TestNamedProblems:
    """One mutation of each kind, and what it is called."""

    def test_an_edited_record(self) -> None:
        log = log_of(ACME, "replica/1")
        edited = structs.replace(log.records[1], body=audit.canonical({"raw": b"", "signer": "", "signature": b""}))
        report = checked(with_log(ACME, structs.replace(log, records=(log.records[0], edited, *log.records[2:]))))
        assert (report.problem, report.writer, report.seq) == ("edited", "replica/1", 2)

    def test_a_body_in_another_encoding(self) -> None:
        """The same content with its keys in another order, and the hash made anew (B35)."""
        log = log_of(ACME, "sidecar/acme/1")
        last = log.records[-1]
        body = msgspec.msgpack.encode({"records": 4, "instance": "1.3"})
        assert msgspec.msgpack.decode(body) == audit.content(last)
        other = structs.replace(last, body=body, hash=audit.record_hash(last.previous, last.seq, last.kind, last.clock_ns, last.boot, body))
        report = checked(with_log(ACME, structs.replace(log, records=(*log.records[:-1], other), hashes=(*log.hashes[:-1], other.hash))))
        assert (report.problem, report.seq) == ("edited", last.seq)

    def test_a_record_that_is_withheld(self) -> None:
        log = log_of(ACME, "sidecar/acme/1")
        report = checked(with_log(ACME, structs.replace(log, records=log.records[:1] + log.records[2:], proofs=log.proofs[:1] + log.proofs[2:])))
        assert (report.problem, report.seq) == ("deleted", 2)

    def test_records_that_are_swapped(self) -> None:
        log = log_of(ACME, "sidecar/acme/1")
        one, two, *rest = log.records
        assert checked(with_log(ACME, structs.replace(log, records=(two, one, *rest)))).problem == "reordered"

    def test_hashes_that_are_swapped(self) -> None:
        log = log_of(ACME, "replica/1")
        hashes = list(log.hashes)
        hashes[8], hashes[9] = hashes[9], hashes[8]  # neither is the tenant's: only a root shows it
        assert checked(with_log(ACME, structs.replace(log, hashes=tuple(hashes)))).problem == "forked"

    def test_a_log_cut_off_below_a_cosigned_size(self) -> None:
        log = log_of(ACME, "sidecar/acme/1")
        cut = structs.replace(log, hashes=log.hashes[:3], records=log.records[:3], proofs=log.proofs[:3])
        assert checked(with_log(ACME, cut)).problem == "truncated"

    def test_a_log_cut_off_above_every_head_still_verifies(self) -> None:
        """What nobody witnessed, and nothing else in the export speaks of, may be lost in a crash; there is no telling that from a cut."""
        log = log_of(ACME, "sidecar/acme/1")
        assert checked(with_log(ACME, structs.replace(log, hashes=log.hashes[:4], records=log.records[:4], proofs=log.proofs[:4]))).sound

    def test_a_log_rewritten_with_all_its_hashes(self) -> None:
        """Everything that the writer alone can make anew is consistent; the roots that witnesses cosigned are not."""
        forged = Log("sidecar/acme/1")
        for record in log_of(ACME, forged.writer).records:
            forged.add(record.kind, {"nothing": "happened"} if record.kind == "GATE_CHANGE" else audit.content(record))
        log = log_of(export({**records(grown()), forged.writer: forged.records}, "acme"), forged.writer)
        assert isinstance(audit.verify(forged.records), int)
        assert checked(with_log(ACME, log)).problem == "forked"

    def test_two_heads_of_one_size(self) -> None:
        logs = grown()
        other = Log("sidecar/acme/1").add("BOOT", {"instance": "clone", "records": 0}).add("BOOT", {"instance": "clone", "records": 1})
        logs["replica/1"].cosign(other.head())
        assert checked(export(records(logs), "acme")).problem == "forked"

    def test_a_proof_of_something_else(self) -> None:
        log = log_of(ACME, "replica/1")
        assert checked(with_log(ACME, structs.replace(log, proofs=(log.proofs[1], *log.proofs[1:])))).problem == "unproven"

    @pytest.mark.parametrize("witnesses", [(), ("replica/3",), ("sidecar/acme/1",)])
    def test_cosignatures_of_people_who_are_no_witnesses(self, witnesses: tuple[str, ...]) -> None:
        assert verify(ACME, SIGNER, witnesses, {}).problem == "unproven"

    def test_nobody_witnesses_himself(self) -> None:
        logs = grown()
        logs["replica/2"].cosign(logs["replica/2"].head())
        assert checked(export(records(logs), "acme")).problem == "unproven"

    def test_records_of_another_tenant_than_the_exports(self) -> None:
        replicas = tuple(log for log in ACME.logs if log.writer.startswith("replica/"))
        report = verify(structs.replace(ACME, tenant="globex", logs=replicas), SIGNER, WITNESSES, {})
        assert (report.problem, report.verdict) == ("foreign", "invalid")
        assert "is of acme, and the export says that it is for globex" in report.why

    def test_the_log_of_another_tenant(self) -> None:
        other = log_of(export(records(grown()), "globex"), "sidecar/globex/1")
        assert checked(structs.replace(ACME, logs=(*ACME.logs, other))).problem == "foreign"

    def test_what_is_no_export(self) -> None:
        assert checked(structs.replace(ACME, schema="ksp/audit-export/2")).problem == "malformed"
        assert checked(structs.replace(ACME, logs=ACME.logs * 2)).problem == "malformed"
        log = ACME.logs[0]
        assert checked(with_log(ACME, structs.replace(log, proofs=()))).problem == "malformed"


class TestMadeUpEnds:
    """Hashes behind the end of a replica's log, of records that might be another tenant's."""

    def test_what_is_behind_the_known_end_was_made_up(self) -> None:
        log = log_of(ACME, "replica/1")
        whole = {writer: len(log_of(ACME, writer).hashes) for writer in WRITERS if "globex" not in writer}
        assert verify(ACME, SIGNER, WITNESSES, whole, whole).sound
        longer = with_log(ACME, structs.replace(log, hashes=(*log.hashes, bytes(32))))
        assert checked(longer).sound  # a log that may have grown since
        report = verify(longer, SIGNER, WITNESSES, whole, whole)
        assert (report.problem, report.writer, report.seq) == ("extended", "replica/1", len(log.hashes) + 1)

    def test_no_two_records_have_one_hash(self) -> None:
        log = log_of(ACME, "replica/1")
        report = checked(with_log(ACME, structs.replace(log, hashes=(*log.hashes, log.hashes[-1]))))
        assert (report.problem, report.writer) == ("extended", "replica/1")


class TestCutEnds:
    """An end that is cut off with all heads over it, and logs that are left out: other logs of the export still speak of them."""

    @pytest.mark.parametrize("writer", ["replica/1", "replica/2"])
    def test_a_log_cut_with_its_heads_is_named_with_what_proves_it(self, writer: str) -> None:
        log = log_of(ACME, writer)
        report = checked(with_log(ACME, structs.replace(log, hashes=log.hashes[:1], records=log.records[:1], proofs=((),), heads=())))
        other = "replica/2" if writer == "replica/1" else "replica/1"
        assert (report.problem, report.writer, report.seq) == ("truncated", writer, 1)
        assert report.why.startswith("the log ends at 1")
        assert f"of {other} (" in report.why
        assert "cut off" in report.why

    @pytest.mark.parametrize("writer", [writer for writer in WRITERS if "globex" not in writer])
    def test_a_log_that_is_left_out_is_named(self, writer: str) -> None:
        report = checked(structs.replace(ACME, logs=tuple(log for log in ACME.logs if log.writer != writer)))
        assert (report.problem, report.writer, report.verdict) == ("incomplete", writer, "invalid")
        emptied = structs.replace(log_of(ACME, writer), hashes=(), records=(), proofs=(), heads=())
        assert checked(with_log(ACME, emptied)).problem == "incomplete"

    def test_a_log_that_nobody_asked_for_is_named_all_the_same(self) -> None:
        logs = grown()
        logs["replica/1"].add("EVIDENCE", {"agent": "acme/9", "order": "o", "stage": "STOPPED_CLEAN", "token": [1, 1, "a"]})
        report = checked(export(records(logs), "acme"))
        assert (report.sound, report.unseen) == (True, ("sidecar/acme/9",))
        assert "not in this export: sidecar/acme/9" in report.words("x")

    @pytest.mark.parametrize(
        ("by", "claim", "about", "held"),
        [
            ("replica/1", ("EVIDENCE", {"agent": "acme/1", "order": "o", "stage": "STOPPED_CLEAN", "token": [1, 1, "a"]}), "sidecar/acme/1",
             ("EVIDENCE", {"order": "o", "stage": "STOPPED_CLEAN", "token": [1, 1, "a"], "checkpoint": 0, "in_doubt": []})),
            ("replica/1", ("FENCE_ACKED", {"sink": "sink/acme/s", "agent": "acme/1", "token": [1, 2, ""], "order": "o"}), "sink/acme/s",
             ("FENCE", {"agent": "acme/1", "token": [1, 2, ""], "order": "o"})),
            ("sink/acme/s", ("APPLIED", {"agent": "acme/1", "key": "k", "token": [1, 1, "a"], "result": "", "again": False, "cls": "new"}),
             "agent/acme/1", ("INTENT", {"key": "k", "step": 0, "task": ["t", "s", 1, 1, False]})),
        ],
    )  # fmt: skip
    def test_what_one_log_rests_on_has_to_be_in_the_other(
        self, by: str, claim: tuple[str, dict[str, object]], about: str, held: tuple[str, dict[str, object]]
    ) -> None:
        logs = grown()
        for writer in (by, about):
            logs.setdefault(writer, Log(writer).add("BOOT", {"instance": "1.1", "records": 0}))
        logs[about].add(*held)
        logs[by].add(*claim)
        whole = export(records(logs), "acme")
        assert checked(whole).sound
        log = log_of(whole, about)
        cut = structs.replace(log, hashes=log.hashes[:-1], records=log.records[:-1], proofs=log.proofs[:-1])
        report = checked(with_log(whole, cut))
        assert (report.problem, report.writer, report.seq) == ("truncated", about, len(cut.hashes))
        assert f"without the {held[0]} that record" in report.why

    @pytest.mark.parametrize("without", ["replica/1", "replica/2"])
    def test_an_order_is_in_the_log_of_each_who_is_said_to_hold_it(self, without: str) -> None:
        logs = {writer: Log(writer).add("BOOT", {"instance": "1.1", "records": 0}) for writer in {*WRITERS, *WITNESSES}}
        raw = order("acme")
        for holder in ("replica/1", "replica/2"):
            logs[holder].add("ORDER_ACCEPTED", {"raw": raw, "signer": "replica/1", "signature": b"s"})
        teller = "replica/1" if without == "replica/2" else "replica/2"
        logs[teller].add("ORDER_EFFECTIVE", {"order": intent.content_id(raw), "holders": ["replica/1", "replica/2"]})
        whole = export(records(logs), "acme")
        assert not checked(whole).problem
        log = log_of(whole, without)
        report = checked(with_log(whole, structs.replace(log, hashes=log.hashes[:1], records=log.records[:1], proofs=log.proofs[:1], heads=())))
        assert (report.problem, report.writer, report.seq) == ("truncated", without, 1)
        assert f"without the ORDER_ACCEPTED that record 3 of {teller} (ORDER_EFFECTIVE) rests on" in report.why

    def test_a_cosignature_of_another_log_of_that_name_is_a_fork(self) -> None:
        logs = grown()
        logs["replica/1"].cosign(Log("replica/2").add("BOOT", {"instance": "9", "records": 0}).head())
        whole = export(records(logs), "acme")
        log = log_of(whole, "replica/2")
        assert checked(with_log(whole, structs.replace(log, heads=(), proofs=((),) * len(log.proofs)))).problem == "forked"

    @pytest.mark.parametrize("logs", [(), tuple(LogExport(writer, (), (), (), ()) for writer in WRITERS)])
    def test_an_export_with_nothing_in_it_shows_nothing(self, logs: tuple[LogExport, ...]) -> None:
        report = checked(Export(audit_export.SCHEMA, "acme", logs))
        assert (report.sound, report.verdict, report.problem) == (False, "unknown", "empty")

    def test_who_knows_how_long_a_log_was_misses_its_end(self) -> None:
        length = len(log_of(ACME, "replica/1").hashes)
        assert verify(ACME, SIGNER, WITNESSES, {"replica/1": length}).sound
        for known in (length + 1, 99):
            report = verify(ACME, SIGNER, WITNESSES, {"replica/1": known})
            assert (report.problem, report.writer) == ("truncated", "replica/1")
            assert f"is known to have {known} records" in report.why

    def test_how_much_lies_beyond_every_head_is_said(self) -> None:
        report = checked(ACME)
        assert report.verdict == "valid"
        for writer, standing in report.standings.items():
            size = len(log_of(ACME, writer).hashes)
            assert (standing.cosigned, standing.cosigned + standing.chained) == (report.covered[writer], size)
            assert f"  {writer}: 1 to {standing.cosigned} under a cosigned head" in report.words("x")
        chained = sum(each.chained for each in report.standings.values())
        assert chained > 0
        assert report.words("x").endswith("\nthat nothing was withheld, no proof can show")
        assert f"by their chain alone: {chained} in all, for which no witness vouches" in report.words("x")

    def test_logs_without_a_head_are_not_called_valid_however_well_they_hold_together(self) -> None:
        """Cut to their first records, heads and all: nothing in them is wrong, and nobody but their writers says that they are the logs."""
        cut = export({writer: log[:3] for writer, log in records(grown()).items()}, "acme", {})
        report = checked(cut)
        assert (report.sound, report.verdict) == (True, "unknown")
        told = report.words("x").splitlines()
        assert told[0].startswith("unknown: ")
        assert told[-2].startswith(f"no witness vouches for {', '.join(log.writer for log in ACME.logs)}: ")
        assert told[-1] == "that nothing was withheld, no proof can show"

    def test_one_log_without_a_head_is_named(self) -> None:
        alone = Log("sidecar/acme/3").add("BOOT", {"instance": "1", "records": 0})
        report = checked(export({**records(grown()), "sidecar/acme/3": alone.records}, "acme"))
        assert (report.sound, report.verdict, report.unvouched) == (True, "unknown", ("sidecar/acme/3",))
        assert "no witness vouches for sidecar/acme/3: " in report.words("x")

    def test_a_log_written_anew_that_no_witness_vouches_for_is_not_called_more_than_chained(self) -> None:
        """Hashes and all: no proof can show it, so the verdict has to say how little it is worth."""
        logs = records(grown())
        anew = Log("agent/acme/1").add("INTENT", {"key": "k", "step": 0, "task": ["t", "s", 1, 1, False]}).add("DONE", {"task": "forged"})
        report = checked(export({**logs, "agent/acme/1": anew.records}, "acme"))
        assert report.sound
        assert report.standings["agent/acme/1"] == audit_export.Standing(cosigned=0, chained=2, shown=2)
        assert "  agent/acme/1: 1 to 2 by their chain alone" in report.words("x")

    @pytest.mark.parametrize("by", ["sidecar/acme/1", "agent/acme/1"])
    def test_who_is_no_witness_does_not_cover_a_log(self, by: str) -> None:
        """A node that cosigns its own log, or another's of its tenant, in a record of its own makes nothing surer."""
        logs = {"sidecar/acme/1": Log("sidecar/acme/1").add("BOOT", {"instance": "1.1", "records": 0})}
        logs.setdefault(by, Log(by))
        logs[by].cosign(logs["sidecar/acme/1"].head())
        exported = export(records(logs), "acme", {})
        report = verify(exported, SIGNER, WITNESSES, {})
        assert report.sound
        assert report.standings["sidecar/acme/1"].cosigned == 0

    def test_a_key_that_stands_twice_is_named(self) -> None:
        content = msgspec.json.encode(ACME)
        assert audit_export.read(content) == ACME
        with pytest.raises(ValueError, match=r"^logs\[0\]\.writer: stands there 2 times; keep one of them$"):
            audit_export.read(content.replace(b'{"writer":', b'{"writer":"replica/9","writer":', 1))

    @pytest.mark.parametrize(
        ("old", "new", "problem"),
        [
            (b'{"schema":', b'{"note":"all is well","schema":', "note: unknown key"),
            (b'{"writer":', b'{"note":"all is well","writer":', "logs[0].note: unknown key"),
            (b'"]],', b'","all is well"]],', "logs[0].records[10]: more values than a record has"),
        ],
    )
    def test_what_nothing_checks_is_refused_by_name(self, old: bytes, new: bytes, problem: str) -> None:
        with pytest.raises(ValueError, match=f"^{re.escape(problem)}: no ksp/audit-export/1 has that"):
            audit_export.read(msgspec.json.encode(ACME).replace(old, new, 1))

    def test_a_later_form_is_refused_for_what_it_is_and_not_for_its_keys(self) -> None:
        later = msgspec.json.encode(structs.replace(ACME, schema="ksp/audit-export/2")).replace(b'{"schema":', b'{"note":1,"schema":', 1)
        assert checked(audit_export.read(later)).why == "not one ksp/audit-export/1 with each log once"


# -- every way of tampering ----------------------------------------------------------------------------------------------------------------


@st.composite
def tampered(draw: st.DrawFn) -> Export:
    """An export of which one log differs from the true one somewhere below its last cosigned size."""
    log = draw(st.sampled_from(ACME.logs))
    found = transparency.read_note(log.heads[-1])
    assert found is not None
    covered = found[0].size
    under = [place for place, record in enumerate(log.records) if record.seq <= covered]
    place = draw(st.sampled_from(under))
    hash_at = draw(st.integers(0, covered - 1))
    kind = draw(st.sampled_from(("field", "drop", "move", "double", "hash", "hash-drop", "hash-add", "hash-swap", "cut", "proof", "head")))
    return with_log(ACME, _tamper(draw, log, kind, place, hash_at, covered))


def _tamper(draw: st.DrawFn, log: LogExport, kind: str, place: int, hash_at: int, covered: int) -> LogExport:
    rows, hashes, proofs = list(log.records), list(log.hashes), list(log.proofs)
    match kind:
        case "field":
            rows[place] = draw(_edited(rows[place]))
        case "drop":
            del rows[place], proofs[place]
        case "move":
            rows.insert(draw(st.integers(0, len(rows))), rows[place])
            proofs.append(())
        case "double":
            rows[place] = rows[place - 1]
        case "hash":
            hashes[hash_at] = draw(st.binary(min_size=32, max_size=32))
        case "hash-drop":
            del hashes[hash_at]
        case "hash-add":
            hashes.insert(hash_at, draw(st.binary(min_size=32, max_size=32)))
        case "hash-swap":
            hashes[hash_at], hashes[hash_at - 1] = hashes[hash_at - 1], hashes[hash_at]
        case "cut":
            size = draw(st.integers(0, covered - 1))
            rows = [record for record in rows if record.seq <= size]
            hashes, proofs = hashes[:size], proofs[: len(rows)]
        case "proof":
            proofs[place] = tuple(draw(st.lists(st.sampled_from(log.hashes), max_size=5)))
        case _:
            heads = list(log.heads)
            text = draw(st.sampled_from(heads))
            at = draw(st.integers(0, len(text) - 1))
            heads[heads.index(text)] = text[:at] + draw(st.characters(codec="utf-8")) + text[at + 1 :]
            return structs.replace(log, heads=tuple(heads))
    return structs.replace(log, records=tuple(rows), hashes=tuple(hashes), proofs=tuple(proofs))


@st.composite
def _edited(draw: st.DrawFn, record: Record) -> Record:
    name = draw(st.sampled_from(("seq", "previous", "kind", "clock_ns", "boot", "body", "hash")))
    value = getattr(record, name)
    new = draw({int: st.integers(-1, 40), str: st.text(max_size=8), bytes: st.binary(max_size=40)}[type(value)])
    changed = structs.replace(record, **{name: new})
    if draw(st.booleans()):
        return changed
    made_anew = audit.record_hash(changed.previous, changed.seq, changed.kind, changed.clock_ns, changed.boot, changed.body)
    return structs.replace(changed, hash=made_anew)


def _shows_the_tenants_all(exported: Export) -> bool:
    """Whether nothing is missing that a verifier could miss: of a replica's log, a record may have been turned into a bare hash."""
    return all(log.writer.startswith("replica/") or log == log_of(ACME, log.writer) for log in exported.logs)


@given(tampered())
def test_whatever_is_done_below_a_cosigned_size_is_found(exported: Export) -> None:
    report = checked(exported)
    if report.sound:  # the same after all, or a replica's record that is withheld and leaves its hash
        true = {record.hash for log in ACME.logs for record in log.records}
        assert _shows_the_tenants_all(exported)
        assert [log.hashes for log in exported.logs] == [log.hashes for log in ACME.logs]
        assert {record.hash for log in exported.logs for record in log.records} <= true
    else:
        assert report.problem in {"edited", "deleted", "reordered", "truncated", "extended", "forked", "unproven", "malformed", "foreign"}
        assert report.why


@given(st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_verifying_is_total(noise: bytes) -> None:
    text = noise.decode("utf-8", "replace")
    row = Record(1, noise, text, 1, text, noise, noise)
    strange = LogExport(text, (noise,), (row,), ((noise,),), (text,))
    assert not checked(Export(audit_export.SCHEMA, "acme", (strange,))).sound
