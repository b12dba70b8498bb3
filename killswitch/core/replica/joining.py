"""A replica that may have forgotten what it vouched for: it grants and promises nothing before its peers have taught it again (A2, protocol 3.7).

Owns when a replica has to learn, from whom, and when it has learned enough. Must not know what grants or drafts are.

A replica came back without some of its log if it had to cut it, or if its deployment record says that it joins in the place of one whose
disk was lost. Whether the part that is gone was ever durable nobody can tell from what is left, so all of them learn. An order that was
effective is still held by k-1 others, and a token that was opened still promised by q-1, so n - min(k, q) + 1 peers are sure to know of
either, provided that no second replica forgets at the same time. Where a quorum is a single replica there may be nobody else to know: that is the
price of k = 1, and hearing everybody has to be enough.
"""

from __future__ import annotations

from killswitch.core import intent
from killswitch.core.lessons import Lesson, LessonRequest, Promised
from killswitch.core.messages import COUNTER_MAX, NO_TOKEN, IntentReply, Token
from killswitch.core.outlet import observe, parts, record, send
from killswitch.core.replica import dispatch
from killswitch.core.replica.state import Replica, promise_durable, unread


def begin(state: Replica, *, cut: bool) -> None:
    """At boot: whether there is something to learn that no earlier life has finished learning."""
    state.joining = bool(state.peers) and (cut or state.joining or (state.config.joins and not state.lessons.joined))


def nonce(state: Replica) -> str:
    """Of this start's questions: what a peer said to an earlier one does not count."""
    return f"join/{state.instance}"


def ask(state: Replica) -> None:
    """With each round of gossip, whoever has not taught all yet."""
    if state.joining:
        for peer in state.peers:
            if peer not in state.lessons.teachers:
                send(state, peer, LessonRequest(nonce(state)))


def on_request(state: Replica, request: LessonRequest, sender: str, now_ns: int) -> None:
    """Teach a peer, also if this replica is learning itself: two that had to cut their logs at once would wait for each other for ever."""
    if sender in state.peers:
        dispatch.tell_intent(state, request.nonce, sender, now_ns, counts=True)
        tell_promises(state, request.nonce, sender)


def tell_promises(state: Replica, nonce: str, sender: str) -> None:
    """All of them, once the last is durable."""
    promised = (Promised(agent, *parts(token)) for agent, token in sorted(state.promised.items()))
    send(state, sender, Lesson(nonce, tuple(promised)), after_lsn=state.chain.seq if state.chain.pending else 0)


def on_intent(state: Replica, reply: IntentReply, sender: str, now_ns: int) -> None:
    """What the peer knows to be in force was learned before, in the same step. What is yet to be read, it will be asked for again."""
    told = (intent.content_id(order.raw) for order in reply.orders)
    if state.joining and sender in state.peers and reply.nonce == nonce(state) and reply.complete and not unread(state, told):
        state.lessons.told_intent.add(sender)
        state.lessons.policy_seq = max(state.lessons.policy_seq, reply.policy_seq)
        conclude(state, now_ns)


def on_lesson(state: Replica, lesson: Lesson, sender: str, now_ns: int) -> None:
    """From here on it denies what is lower than its peers have promised; it grants to that when it has joined."""
    if lesson.nonce != nonce(state) or sender not in state.peers or not listens(state):
        return
    for each in lesson.promised:
        promise_too(state, each.agent, Token(each.epoch, each.counter, each.instance), now_ns)
    state.lessons.told_promises.add(sender)
    conclude(state, now_ns)


def listens(state: Replica) -> bool:
    """Whether there is something to learn still. What comes once the lessons are put down is on no record, and is none: enough peers told before."""
    return state.joining and not state.lessons.finishing


def promise_too(state: Replica, agent: str, token: Token, now_ns: int) -> None:
    """A peer has promised this: it may have been promised here, too. What came before that is not told."""
    if token > state.promised.get(agent, NO_TOKEN) and token.counter < COUNTER_MAX:
        state.promised[agent] = state.superseded[agent] = state.lessons.taught[agent] = token
        state.promised_ns[agent] = now_ns


def conclude(state: Replica, now_ns: int) -> None:
    """Who has told both has taught; with enough of them, put on record what was learned."""
    if state.joining and enough(state) and not state.lessons.finishing:
        state.lessons.finishing = True
        taught = {agent: parts(token) for agent, token in sorted(state.lessons.taught.items())}
        state.awaiting[record(state, "JOINED", {"taught": taught, "teachers": sorted(state.lessons.teachers)}, now_ns)] = ("joined", "")


def enough(state: Replica) -> bool:
    """Whether any quorum that this replica was part of has somebody else in it who has answered, and the policy that they decide by is here."""
    wanted = len(state.config.replicas) - min(state.config.kill_quorum, state.config.quorum) + 1
    return len(state.lessons.teachers) >= min(wanted, len(state.peers)) and state.policies.in_force.seq >= state.lessons.policy_seq


def finish(state: Replica) -> None:
    """What was learned is durable: the replica counts again."""
    state.joining, state.lessons.joined, state.lessons.finishing = False, True, False
    for agent, token in state.lessons.taught.items():
        promise_durable(state, agent, token)
    observe(state, "replica-joined", teachers=sorted(state.lessons.teachers))


def fold(state: Replica, taught: dict[str, list[object]]) -> None:
    """An earlier life had finished learning."""
    state.joining, state.lessons.joined = False, True
    for agent, token in taught.items():
        state.promised[agent] = max(Token(*token), state.promised.get(agent, NO_TOKEN))  # type: ignore[arg-type]  # of an own record
        state.superseded[agent] = state.promised[agent]
