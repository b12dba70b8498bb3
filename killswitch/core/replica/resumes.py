"""Resumes at a replica: the only act that loosens anything (protocol 3.8).

Owns drafting and accepting certificates. A draft shows approvers everything that n-k+1 replicas know, so no effective order can be
missing from it; accepting is strict; and a certificate lifts only what it lists, wherever it arrives (D1).
"""

from __future__ import annotations

from killswitch.core import codec, intent, keys, policy, trust
from killswitch.core.messages import IntentRead, IntentReply, ResumeBody, ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.outlet import send
from killswitch.core.replica import dispatch
from killswitch.core.replica.state import DRAFTS_MAX, Draft, Replica, learn, learn_certificate, uncovered


def on_draft_request(state: Replica, request: ResumeDraftRequest, sender: str, now_ns: int) -> None:
    """Ask every peer what it knows before approvers are shown what they would lift."""
    ruling = rule(state, request)
    if not ruling.allowed:
        send(state, sender, ResumeDraft(request.request, "REFUSED", b"", 0, "the principal may not ask for this resume"))
        return
    while len(state.drafts) >= DRAFTS_MAX:
        del state.drafts[next(iter(state.drafts))]
    state.drafts[request.request] = Draft(sender, request, ruling, state.node)
    for peer in state.peers:
        send(state, peer, IntentRead(request.request))
    finish_draft(state, request.request)


def rule(state: Replica, request: ResumeDraftRequest) -> policy.Ruling:
    may = keys.authorised(state.trust.keyset, request.principal, keys.REQUEST, request.tenant, request.scope.kind)
    return policy.decide(
        state.bundle,
        policy.Request(
            principal=request.principal, action=policy.RESUME, authorised=may and trust.believes_request(state.trust, request),
            tenant=request.tenant, scope_kind=request.scope.kind, scope_value=request.scope.value, approvals=state.parameters.approvals,
        ),
    )  # fmt: skip


def on_intent_reply(state: Replica, reply: IntentReply, sender: str, now_ns: int) -> list[str]:
    """A peer told what it knows; the ids of orders that were new here. Only a complete answer counts towards a draft."""
    fresh = learn(state, reply.orders, reply.certificates, sender, now_ns)
    draft = state.drafts.get(reply.nonce)
    if draft is not None and sender in state.peers and reply.complete:
        draft.heard.add(sender)
        finish_draft(state, reply.nonce)
    return fresh


def finish_draft(state: Replica, request: str) -> None:
    """Once n-k+1 replicas are heard, every effective order is among what is known here."""
    draft = state.drafts[request]
    if not heard_enough(state, draft):
        return
    del state.drafts[request]
    asked = draft.request
    if not isinstance(asked, ResumeDraftRequest):
        return
    covers = tuple(sorted(known.id for known in uncovered(state) if intent.includes(asked.tenant, asked.scope, known.body)))
    if not covers:
        send(state, draft.operator, ResumeDraft(request, "NOTHING_TO_COVER", b"", 0))
        return
    body = ResumeBody(
        tenant=asked.tenant, scope=asked.scope, covers=covers, epoch=next_epoch(state, asked.tenant), reason=asked.reason,
        requester=asked.principal, nonce=request, decision=draft.ruling.decision,
    )  # fmt: skip
    send(state, draft.operator, ResumeDraft(request, "DRAFTED", codec.pack(body), draft.ruling.approvals))


def next_epoch(state: Replica, tenant: str) -> int:
    """For people: the how-manieth resume of its tenant this is. Other tenants' do not count, or one could watch another's incidents (S14)."""
    return sum(state.intent.certificates[known].body.tenant == tenant for known in state.intent.in_force) + 1


def heard_enough(state: Replica, draft: Draft) -> bool:
    """n-k+1 of them meet every k that can have made an order effective; one that may have forgotten is none of them, nor can it draft."""
    return not state.joining and len(draft.heard) > len(state.config.replicas) - state.config.kill_quorum


def on_submit(state: Replica, submit: ResumeSubmit, sender: str, now_ns: int) -> None:
    """Verify and store. An order of the scope that approvers were not shown sends them back (for their convenience: D1 is what keeps it safe)."""
    certificate = submit.certificate
    certificate_id = intent.content_id(certificate.raw)
    known = trust.read_certificate(state.trust, certificate)
    if known is None or len(trust.approvers(state.trust, known)) < approvals_needed(state, known):
        send(state, sender, ResumeStatus(submit.request, certificate_id, "REFUSED", why="not enough valid approvals of distinct approvers"))
        return
    missing = unshown(state, known)
    if missing:
        send(state, sender, ResumeStatus(submit.request, certificate_id, "NEEDS_CONTEXT", missing))
        return
    lsn = learn_certificate(state, certificate, sender, now_ns) or (0 if certificate_id in state.intent.in_force else state.chain.seq)
    if lsn:
        dispatch.spread(state, certificates=(certificate,))
    send(state, sender, ResumeStatus(submit.request, certificate_id, "ACCEPTED"), after_lsn=lsn)


def approvals_needed(state: Replica, known: intent.KnownCertificate) -> int:
    """How many approvals this cell's policy asks for, whatever the draft said. Peers and sidecars hold to the cell's least number."""
    body = known.body
    ruling = policy.decide(
        state.bundle,
        policy.Request(
            principal=body.requester, action=policy.RESUME, authorised=True, tenant=body.tenant, scope_kind=body.scope.kind,
            scope_value=body.scope.value, approvals=state.parameters.approvals,
        ),
    )  # fmt: skip
    return ruling.approvals


def unshown(state: Replica, known: intent.KnownCertificate) -> tuple[str, ...]:
    """Uncovered orders within the certificate's scope that it does not list."""
    body = known.body
    within = (order.id for order in uncovered(state) if intent.includes(body.tenant, body.scope, order.body))
    return tuple(sorted(order for order in within if order not in body.covers))
