"""Resumes at a replica: the only act that loosens anything (protocol 3.8).

Owns drafting and accepting certificates. A draft shows approvers everything that n-k+1 replicas know, so no effective order can be
missing from it, and is ruled on under a policy no older than theirs; accepting is strict, and ends; and a certificate lifts only what it lists,
wherever it arrives (D1).
"""

from __future__ import annotations

from killswitch.core import attempts, federation, codec, intent, keys, policy, trust
from killswitch.core.certificates import ResumeBody, ResumeCertificate, ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.leases import PPM
from killswitch.core.messages import ASK_ANOTHER, COUNTER_MAX, IntentRead, IntentReply
from killswitch.core.outlet import send
from killswitch.core.replica import dispatch, rollouts
from killswitch.core.stamps import Reading
from killswitch.core.replica.state import DRAFTS_MAX, Draft, Replica, learn, learn_certificate, uncovered, unread


def on_draft_request(state: Replica, request: ResumeDraftRequest, sender: str, now_ns: int) -> None:
    """Ask every peer what it knows before approvers are shown what they would lift. Who may not ask at all need not wait for that."""
    if not question(state, request).authorised:
        refuse(state, request, sender, now_ns)
        return
    while len(state.drafts) >= DRAFTS_MAX:
        del state.drafts[next(iter(state.drafts))]
    name = f"{request.principal}/{request.request}"  # people choose their names for what they ask, and may choose the same
    state.drafts[name] = Draft(sender, request, state.node)
    for peer in state.others:
        send(state, peer, IntentRead(name))
    finish_draft(state, name, now_ns)


def question(state: Replica, request: ResumeDraftRequest) -> policy.Request:
    may = keys.authorised(state.trust.keyset, request.principal, keys.REQUEST, request.tenant, request.scope.kind)
    return policy.Request(
        principal=request.principal, action=policy.RESUME, authorised=may and trust.believes_request(state.trust, request),
        tenant=request.tenant, scope_kind=request.scope.kind, scope_value=request.scope.value, approvals=state.parameters.approvals,
    )  # fmt: skip


def refuse(state: Replica, request: ResumeDraftRequest, operator: str, now_ns: int) -> None:
    asked = question(state, request)
    rollouts.record_refusal(state, request.request, asked, rollouts.decide(state, asked), operator, now_ns)
    send(state, operator, ResumeDraft(request.request, "REFUSED", b"", 0, "the principal may not ask for this resume, or policy does not allow it"))


def on_intent_reply(state: Replica, reply: IntentReply, sender: str, now_ns: int) -> list[str]:
    """A peer told what it knows; the ids of orders that were new here. Only a complete answer counts towards a draft."""
    fresh = learn(state, reply.orders, vouched_for(state, reply, sender), sender, now_ns)
    draft = state.drafts.get(reply.nonce)
    if draft is not None and sender in state.others and reply.complete:
        draft.heard.add(sender)
        draft.unread |= unread(state, (intent.content_id(order.raw) for order in reply.orders))
        draft.policy_seq = max(draft.policy_seq, reply.policy_seq)
        if reply.read.replica == sender:
            draft.read[sender] = reply.read
        finish_draft(state, reply.nonce, now_ns)
    return fresh


def vouched_for(state: Replica, reply: IntentReply, sender: str) -> tuple[ResumeCertificate, ...]:
    """The certificates of a peer, who saw to it that they were handed in in time, or has them from somebody who did. From anybody else they are
    only handed in as such (`on_submit`)."""
    return reply.certificates if sender in state.others else ()


def go_on_drafting(state: Replica, now_ns: int) -> None:
    """Another policy is in force here, or orders are read that had to wait: drafts that waited for either need wait no longer."""
    for name in list(state.drafts):
        finish_draft(state, name, now_ns)


def finish_draft(state: Replica, name: str, now_ns: int) -> None:
    """Rule on the resume, and show approvers everything that it would lift."""
    draft = state.drafts[name]
    draft.unread = unread(state, draft.unread)
    if any(attempts.is_quarantined(state, order) for order in draft.unread):
        del state.drafts[name]
        why = "there is an order that this replica does not read, so it cannot be shown to approvers here"
        send(state, draft.operator, ResumeDraft(draft.request.request, ASK_ANOTHER, b"", 0, why))
        return
    if draft.unread or not heard_enough(state, draft) or is_behind(state, draft):
        return
    del state.drafts[name]
    asked = draft.request
    request = asked.request
    covers = tuple(sorted(known.id for known in uncovered(state) if intent.includes(asked.tenant, asked.scope, known.body)))
    if not covers:
        send(state, draft.operator, ResumeDraft(request, "NOTHING_TO_COVER", b"", 0))
        return
    answer = rollouts.decide(state, question(state, asked))
    if not answer.ruling.allowed:
        refuse(state, asked, draft.operator, now_ns)
        return
    rollouts.record_decision(state, request, question(state, asked), answer, now_ns)
    body = ResumeBody(
        tenant=asked.tenant, scope=asked.scope, covers=covers, epoch=next_epoch(state, asked.tenant), reason=asked.reason,
        requester=asked.principal, nonce=request, decision=answer.ruling.decision, approvals=answer.ruling.approvals,
        ends=ends(state, draft, now_ns),
    )  # fmt: skip
    send(state, draft.operator, ResumeDraft(request, "DRAFTED", codec.pack(body), body.approvals))


def ends(state: Replica, draft: Draft, now_ns: int) -> tuple[Reading, ...]:
    """Until when the draft can be handed in, to each replica that was heard, by its own clock: they answered before it was made, so none of them can
    take the time since for shorter than it was (A1)."""
    span_ns = state.parameters.approval_ns * (PPM - state.parameters.drift_ppm) // PPM
    read = {**draft.read, state.node: Reading(state.node, state.boot, now_ns)}
    return tuple(Reading(each.replica, each.boot, min(max(each.clock_ns, 0) + span_ns, COUNTER_MAX)) for _, each in sorted(read.items()))


def next_epoch(state: Replica, tenant: str) -> int:
    """For people: the how-manieth resume of its tenant this is. Other tenants' do not count, or one could watch another's incidents (S14)."""
    return sum(state.intent.certificates[known].body.tenant == tenant for known in state.intent.in_force) + 1


def heard_enough(state: Replica, draft: Draft) -> bool:
    """n-k+1, of each cell concerned, meet every k that can have made an order effective; one that may have forgotten does not count, nor draft."""
    return not state.joining and all(
        sum(replica in draft.heard for replica in cell.replicas) > len(cell.replicas) - cell.kill_quorum
        for cell in federation.concerned(state.config, draft.request.scope)
    )


def is_behind(state: Replica, draft: Draft) -> bool:
    """Whether a replica that was heard is ahead of this one's policy: like an effective order, a rollout that k hold durably cannot be missed."""
    return state.policies.in_force.seq < draft.policy_seq


def on_submit(state: Replica, submit: ResumeSubmit, sender: str, now_ns: int) -> None:
    """Verify and store. An order of the scope that approvers were not shown, or a policy that is more than one rollout old, sends them back (the
    first for their convenience: D1 is what keeps it safe). What is not for this replica to say is said so, and its sender asks another."""
    certificate = submit.certificate
    certificate_id = intent.content_id(certificate.raw)
    if state.disk_full:
        send(state, sender, ResumeStatus(submit.request, certificate_id, ASK_ANOTHER, why="there is no room for a permission here"))
        return
    known = trust.read_certificate(state.trust, certificate)
    if known is None:
        send(state, sender, ResumeStatus(submit.request, certificate_id, "REFUSED", why=trust.shortfall(state.trust, certificate)))
        return
    asked = asked_again(state, known)
    answer = rollouts.decide(state, asked)
    if is_refused(state, known, answer.ruling):
        rollouts.record_refusal(state, submit.request, asked, answer, sender, now_ns)
        send(state, sender, ResumeStatus(submit.request, certificate_id, "REFUSED", why="policy does not allow it, or asks for more approvals"))
        return
    if certificate_id not in state.intent.certificates:
        end_ns = end_here(state, known)
        if end_ns is None:
            why = "this replica doubts its clock" if state.clock.suspected else "the draft did not hear this replica"
            send(state, sender, ResumeStatus(submit.request, certificate_id, ASK_ANOTHER, why=f"{why}, so it cannot tell whether this has ended"))
            return
        if now_ns >= end_ns:
            send(state, sender, ResumeStatus(submit.request, certificate_id, "EXPIRED", why="approved too late: draft anew, and approve that"))
            return
    missing = unshown(state, known)
    if missing or is_stale(state, known):
        send(state, sender, ResumeStatus(submit.request, certificate_id, "NEEDS_CONTEXT", missing))
        return
    if certificate_id not in state.intent.certificates:
        rollouts.record_decision(state, submit.request, asked, answer, now_ns, certificate_id)
    lsn = learn_certificate(state, certificate, sender, now_ns) or (0 if certificate_id in state.intent.in_force else state.chain.seq)
    if lsn:
        dispatch.spread(state, certificates=(certificate,), after_lsn=lsn)
    send(state, sender, ResumeStatus(submit.request, certificate_id, "ACCEPTED"), after_lsn=lsn)


def end_here(state: Replica, known: intent.KnownCertificate) -> int | None:
    """When a certificate can no longer be handed in here, on this replica's own clock; `None` if that is not this replica's to tell.

    A permission has an end (D6): one that names none, as drafts of earlier versions do, has passed it; so has one that was read off a clock of an
    earlier boot. What has once been let in is not asked for its age again: it is in the set, which only grows.
    """
    own = [each for each in known.body.ends if each.replica == state.node]
    if state.clock.suspected or (known.body.ends and not own):
        return None
    return next((each.clock_ns for each in own if each.boot == state.boot), 0)


def asked_again(state: Replica, known: intent.KnownCertificate) -> policy.Request:
    """What a certificate asks of the policy as it is now."""
    body = known.body
    may = keys.authorised(state.trust.keyset, body.requester, keys.REQUEST, body.tenant, body.scope.kind)
    return policy.Request(
        principal=body.requester, action=policy.RESUME, authorised=may, tenant=body.tenant, scope_kind=body.scope.kind,
        scope_value=body.scope.value, approvals=state.parameters.approvals,
    )  # fmt: skip


def is_refused(state: Replica, known: intent.KnownCertificate, ruling: policy.Ruling) -> bool:
    """Whether policy forbids this resume or asks for more approvals than it has, whatever its draft said. Receivers that know no policy hold it to
    what approvers signed (`trust.approvals_due`)."""
    return not ruling.allowed or len(trust.approvers(state.trust, known)) < ruling.approvals


def is_stale(state: Replica, known: intent.KnownCertificate) -> bool:
    """Whether more than one rollout has come into force since the draft was ruled on."""
    return state.policies.in_force.seq - known.body.decision.policy_seq > 1


def unshown(state: Replica, known: intent.KnownCertificate) -> tuple[str, ...]:
    """Uncovered orders within the certificate's scope that it does not list."""
    body = known.body
    within = (order.id for order in uncovered(state) if intent.includes(body.tenant, body.scope, order.body))
    return tuple(sorted(order for order in within if order not in body.covers))
