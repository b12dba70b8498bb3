"""S10 and S12: what a stop finds in flight is neither lost nor told twice, and what was saved is found again."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.checkers.checker import InvariantChecker
from harness.checkers.run import Run
from harness.checkers.words import UNDO, Token, agent_of, token_of
from harness.shared.history import Fact


@dataclass(slots=True)
class _Journal:
    """One agent's journal by its own facts. ``open``: {key: (task, index of the intent)} without a result; ``intended``: durable keys;
    ``meant``: {key: (task, step)}; ``steps``: {task: how many it has}; ``whole``: {task: index of its last step's result}; ``standing``:
    {task: {step that took place and is not undone: index}}; ``undone``: keys with which another host undid steps; ``told``: {task: index of when
    upstream was told how it ended}; ``doubted``: {task in doubt: index of when that was put down}.
    """

    open: dict[str, tuple[str, int]] = field(default_factory=dict)
    intended: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    rolled_back: dict[str, int] = field(default_factory=dict)
    started: set[Token] = field(default_factory=set)
    meant: dict[str, tuple[str, int]] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)
    whole: dict[str, int] = field(default_factory=dict)
    standing: dict[str, dict[int, int]] = field(default_factory=dict)
    let_out: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)
    told: dict[str, int] = field(default_factory=dict)
    doubted: dict[str, int] = field(default_factory=dict)
    undoable: set[str] = field(default_factory=set)
    termed_ns: int | None = None
    last_intent: int = -1
    begun: dict[int, int] = field(default_factory=dict)
    last_checkpoint: int = -1
    last_admission: int = -1


class InFlight(InvariantChecker):
    """S10 (protocol 4). Of an agent's effects:

    - one leaves only after its intent is durable in the agent's journal;
    - no two questions about one have a nonce in common, or an answer to the first could be taken for one to the second, which asks about what may
      have happened since.

    Of its tasks:

    - one that is durably done is never rolled back, nor one completed after it was rolled back, unless it was taken up again;
    - one in the middle that can be undone is not gone on with where an order in force wants it undone, whatever others want, once its agent was
      asked to stop and could know of that, and nothing but faults of links befell the two;
    - one that is in doubt is not gone on with before its sink has told what became of it;
    - of one that is rolled back or compensated no effect stands, whoever undid it, and none takes place until it is taken up again;
    - its steps are undone the last first, only where an order asks for it, and none where the last one took place;
    - upstream is told only what is durably done, and no step is intended of one of whose end it was told, however often it hands that over.

    Of a stop: STOPPED_CLEAN is sent, for a token under which a process ran, only when no intent is open, in doubt or not, and the last checkpoint is
    younger than the last intent.

    An agent whose disk lied, or lost what it held, is skipped (A2). Of two hosts of one name each has a journal of its own, and answers for
    what it let out itself.

    Of an agent that a fault makes lie, only intents count of which an effect was let out: nobody but it knows of others, and they come to nothing. An
    instance is an admission, an end of a task or of its way forward, an acknowledgement, STOPPED_CLEAN evidence, or a question. A crash of the
    agent takes the intents that were not durable. Cannot see: results that a crash takes, so an intent once answered stays answered here.
    """

    invariant = "S10"
    title = "InFlight: every effect is intended before and accounted for after; tasks end once; a clean stop leaves nothing open"
    kinds = frozenset({
        "task-intent", "task-intent-durable", "task-result", "task-done-durable", "task-rolled-back", "task-compensated", "task-acknowledged",
        "checkpoint-begun", "checkpoint-durable", "checkpoint-found", "fault-on", "effect-admitted", "effect-applied", "evidence-sent",
        "process-started", "node-crashed", "question-asked", "task-submitted", "task-undoing", "task-returned", "process-termed",
        "task-in-doubt", "task-absent",
    })  # fmt: skip

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._questions: dict[tuple[str, str, str], tuple[int, int]] = {}  # (agent, key, nonce) -> (at_ns, index)
        self._journals: dict[str, _Journal] = {}
        self._liars: set[str] = set()
        self._of_twin: set[tuple[str, Token]] = set()  # (key, token) of what another host of that name let out: on its own journal, not on this one

    def see_twin(self, _index: int, fact: Fact) -> None:
        if fact.kind == "effect-admitted":
            self._of_twin.add((fact.body["key"], token_of(fact.body["token"])))

    def see(self, index: int, fact: Fact) -> None:
        if fact.kind in ("node-crashed", "fault-on"):
            self._befell(fact)
        elif fact.kind == "question-asked":
            self._judge_question(index, fact)
        elif f"agent/{fact.body['agent']}" in self.run.custody:
            self.skipped += 1
        else:
            self._goes_on(index, fact, self._journals.setdefault(fact.body["agent"], _Journal()))

    def _goes_on(self, index: int, fact: Fact, journal: _Journal) -> None:
        match fact.kind:
            case "task-intent":
                self._judge_intent(index, fact, journal)
                journal.open[fact.body["key"]] = (fact.body["task"], index)
                journal.meant[fact.body["key"]] = (fact.body["task"], fact.body["step"])
                journal.last_intent = index
                journal.rolled_back.pop(fact.body["task"], None)
                if fact.body["key"] in journal.undone:
                    journal.standing.get(fact.body["task"], {}).pop(fact.body["step"], None)
            case "task-intent-durable":
                journal.intended.setdefault(fact.body["key"], index)
            case "task-submitted":
                journal.steps[fact.body["task"]] = int(fact.body["steps"])
                if fact.body.get("undo", False):  # earlier versions do not tell
                    journal.undoable.add(fact.body["task"])
            case "task-in-doubt":
                journal.doubted.setdefault(fact.body["task"], index)
            case "task-absent":
                journal.doubted.pop(fact.body["task"], None)
            case "task-result":
                self._answered(index, fact, journal)
            case "checkpoint-begun" | "checkpoint-durable" | "checkpoint-found":
                self._saved(index, fact, journal)
            case "effect-applied":
                self._took_place(index, fact, journal)
            case "effect-admitted":
                self._judge_admission(index, fact, journal)
            case "process-started" | "process-termed":
                journal.started.add(token_of(fact.body["token"]))
                journal.termed_ns = fact.at_ns if fact.kind == "process-termed" else None
            case "evidence-sent":
                if fact.body["stage"] == "STOPPED_CLEAN" and token_of(fact.body["token"]) in journal.started:
                    self._judge_clean_stop(index, fact, journal)
            case _:
                self._judge_end(index, fact, journal)

    def _judge_question(self, index: int, fact: Fact) -> None:
        """Two at one instant are one: nothing happens in between."""
        self.examined += 1
        about = (fact.body["agent"], fact.body["key"], fact.body["nonce"])
        asked_ns, asked = self._questions.setdefault(about, (fact.at_ns, index))
        if fact.at_ns > asked_ns:
            self.blame(
                f"{fact.node} asked {fact.body['sink']} about {about[1]} of {about[0]} again under the nonce of an earlier question", asked, index
            )

    def _befell(self, fact: Fact) -> None:
        if fact.kind == "fault-on":
            if fact.body["what"] == "lie":
                self._liars.update(agent_of(node) for node in fact.body["target"])
        elif fact.node.startswith("agent/"):
            self._forget(agent_of(fact.node))

    @staticmethod
    def _saved(index: int, fact: Fact, journal: _Journal) -> None:
        """One that is found is durable, though its writer may not have lived to hear it; it holds what there was when it was begun."""
        generation = int(fact.body["generation"])
        if fact.kind == "checkpoint-begun":
            journal.begun[generation] = index
        elif fact.kind == "checkpoint-found":
            journal.last_checkpoint = max(journal.last_checkpoint, journal.begun.get(generation, -1))
        else:
            journal.last_checkpoint = index

    def _forget(self, agent: str) -> None:
        journal = self._journals.setdefault(agent, _Journal())
        journal.open = {key: intent for key, intent in journal.open.items() if key in journal.intended}

    def _judge_intent(self, index: int, fact: Fact, journal: _Journal) -> None:
        task = fact.body["task"]
        if task in journal.told:
            self.examined += 1
            self.blame(f"{fact.body['agent']} began task {task} again after it had told upstream how that ended", journal.told[task], index)
        if task in journal.doubted and fact.body["agent"] not in self._liars:
            self.examined += 1
            self.blame(f"{fact.body['agent']} went on with task {task}, which is in doubt", journal.doubted[task], index)
        if journal.termed_ns is not None and fact.body["step"] and not fact.body["key"].startswith("undo/") and task in journal.undoable:
            self._judge_going_on(index, fact, journal.termed_ns)

    def _judge_going_on(self, index: int, fact: Fact, termed_ns: int) -> None:
        agent, sidecar = fact.body["agent"], self.run.sidecar(fact.body["agent"])
        if any(self.run.struck_beyond_links(node) for node in (sidecar.node, fact.node)) or sidecar.node in self.run.clock_suspects:
            return
        for order, learned in self.run.in_force(sidecar, agent):
            if not (order.undoes and order.drains):
                continue
            self.examined += 1
            late_ns = fact.at_ns - max(learned.at_ns, termed_ns) - self.run.bounds.cleanup_ns
            if late_ns > 0:
                why = f"{agent} went on with task {fact.body['task']} {late_ns} ns after it was to know that order {order.order[:12]} wants it undone"
                self.blame(why, learned.index, index)

    def _judge_admission(self, index: int, fact: Fact, journal: _Journal) -> None:
        self.examined += 1
        journal.last_admission = index
        journal.let_out.add(fact.body["key"])
        if fact.body["key"] not in journal.intended:
            self.blame(f"{fact.node} let an effect out whose intent is not durable (task {fact.body['task']}, step {fact.body['step']})", index)

    def _took_place(self, index: int, fact: Fact, journal: _Journal) -> None:
        """What another host of that name undid is undone where one key is one effect, and what was undone before and is answered for again."""
        key, undone = fact.body["key"], fact.body["cls"] == UNDO
        others = bool(self._of_twin) and (key, token_of(fact.body["token"])) in self._of_twin
        if others and undone and self.run.sinks[fact.body["sink"]] != "U":
            journal.undone.add(key)
        if key not in journal.meant:
            return
        task, step = journal.meant[key]
        standing = journal.standing.setdefault(task, {})
        if key in journal.undone or (undone and fact.body["again"]):
            standing.pop(step, None)
        if others or fact.body["again"]:
            return
        if undone:
            later = max(standing, default=step)
            standing.pop(step, None)
            if later > step:
                self.blame(f"step {step} of task {task} of {fact.body['agent']} was undone before step {later}", standing[later], index)
            return
        standing[step] = index
        if task in journal.rolled_back:
            self.blame(f"an effect of task {task} of {fact.body['agent']} took place after it had ended", journal.rolled_back[task], index)

    @staticmethod
    def _answered(index: int, fact: Fact, journal: _Journal) -> None:
        journal.open.pop(fact.body["key"], None)
        journal.doubted.pop(fact.body["task"], None)
        if int(fact.body["step"]) == journal.steps.get(fact.body["task"], 0) - 1:
            journal.whole.setdefault(fact.body["task"], index)

    def _judge_end(self, index: int, fact: Fact, journal: _Journal) -> None:
        self.examined += 1
        agent, task = fact.body["agent"], fact.body["task"]
        if fact.kind in ("task-acknowledged", "task-returned"):
            journal.told.setdefault(task, index)
        if fact.kind == "task-returned":
            return
        if fact.kind == "task-done-durable":
            if task in journal.rolled_back:
                self.blame(f"task {task} of {agent} was completed after it was rolled back", journal.rolled_back[task], index)
            journal.done.setdefault(task, index)
            self._close(journal, task)
        elif fact.kind in ("task-rolled-back", "task-compensated"):
            if task in journal.done:
                self.blame(f"task {task} of {agent} was rolled back after it was completed", journal.done[task], index)
            for step, effect_index in journal.standing.get(task, {}).items():
                self.blame(f"task {task} of {agent} was rolled back or compensated, and its step {step} stands", effect_index, index)
            journal.rolled_back[task] = index
            self._close(journal, task)
        elif fact.kind == "task-undoing":
            forgotten = any(sink in self.run.custody for sink in self.run.agents[agent]["sinks"])  # then it may tell another result
            if task in journal.whole and not forgotten:
                self.blame(f"{agent} began to undo task {task}, all of whose steps had taken place", journal.whole[task], index)
            if not any(order.undoes for order in self.run.orders_of[agent]):
                self.blame(f"{agent} began to undo task {task}, and no order that concerns it asks for that", index)
        elif task not in journal.done:
            self.blame(f"upstream was told that task {task} of {agent} is done before that was durable", index)

    @staticmethod
    def _close(journal: _Journal, task: str) -> None:
        journal.open = {key: intent for key, intent in journal.open.items() if intent[0] != task}
        journal.doubted.pop(task, None)

    def _judge_clean_stop(self, index: int, fact: Fact, journal: _Journal) -> None:
        if fact.node in self.run.liars:
            self.skipped += 1  # it may have forgotten that it started anything
            return
        self.examined += 1
        agent = fact.body["agent"]
        lies = agent in self._liars
        still_open = {key: intent for key, intent in journal.open.items() if key in journal.let_out or not lies}
        last = journal.last_admission if lies else journal.last_intent
        if still_open:
            key, (task, intent_index) = next(iter(still_open.items()))
            self.blame(f"STOPPED_CLEAN was sent for {agent} with key {key} of task {task} open", intent_index, index)
        elif journal.last_checkpoint < last:
            self.blame(f"STOPPED_CLEAN was sent for {agent} without a checkpoint after its last intent", last, index)


SLOTS = 2


class Checkpoint(InvariantChecker):
    """S12 (CK1-CK4). A starting agent recovers a checkpoint that was written, byte for byte as it was, up to the record that was the journal's
    last then; that the surviving journal reaches; and not older than the last that was acknowledged, nor than the last durable one whose
    lsn the surviving journal reaches. That it holds what the journal says is S15's to judge, by the fold. An agent whose disk lied, or lost what it
    held, is held only to believing nothing torn (A2).

    Nor is a checkpoint ever begun in the slot of the newest that the agent knows to be whole, which it recovered from or heard to be durable since
    it started: there is a whole one at any instant, wherever it is cut short, and whatever became of the other slot. An instance is a recovery, or a
    checkpoint that is begun.
    """

    invariant = "S12"
    title = "Checkpoint: an agent recovers an intact checkpoint no older than the last one it was promised"
    kinds = frozenset({"checkpoint-begun", "checkpoint-durable", "checkpoint-acknowledged", "checkpoint-recovered"})

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self._acknowledged: dict[str, tuple[int, int]] = {}
        self._durable: dict[str, list[tuple[int, int, int]]] = {}
        self._whole: dict[str, tuple[int, int]] = {}  # agent -> (the newest generation that it knows to be whole, index)
        self._begun: dict[str, dict[int, dict[int, int]]] = {}  # agent -> generation -> {lsn: index}

    def see(self, index: int, fact: Fact) -> None:
        agent, generation = fact.body["agent"], int(fact.body["generation"])
        if fact.kind == "checkpoint-acknowledged":
            self._acknowledged[agent] = max((generation, index), self._acknowledged.get(agent, (0, index)))
        elif fact.kind == "checkpoint-begun":
            begun = self._begun.setdefault(agent, {})
            self._judge_slot(index, agent, generation)
            begun.setdefault(generation, {})[int(fact.body["lsn"])] = index
            begun.pop(generation - 4, None)  # long overwritten
        elif fact.kind == "checkpoint-durable":
            # Only the two slots can be recovered from, so only two need to be remembered.
            self._durable[agent] = [*self._durable.get(agent, [])[-1:], (generation, int(fact.body["lsn"]), index)]
            self._whole[agent] = (generation, index)
        else:
            self._judge(index, fact, agent, generation)
            self._whole[agent] = (generation, index)

    def _judge_slot(self, index: int, agent: str, generation: int) -> None:
        self.examined += 1
        whole, whole_index = self._whole.get(agent, (0, index))
        if whole and whole % SLOTS == generation % SLOTS:
            self.blame(f"{agent} began checkpoint {generation} in the slot of {whole}, the only one that it knew to be whole", whole_index, index)

    def _judge(self, index: int, fact: Fact, agent: str, generation: int) -> None:
        if fact.body["intact"] and f"agent/{agent}" in self.run.custody:
            self.skipped += 1
            return
        self.examined += 1
        lsn, journal = int(fact.body["lsn"]), int(fact.body["journal"])
        acknowledged, acknowledged_index = self._acknowledged.get(agent, (0, index))
        promised = [(saved, saved_index) for saved, saved_lsn, saved_index in self._durable.get(agent, []) if saved_lsn <= journal]
        durable, durable_index = max(promised, default=(0, index))
        begun = self._begun.get(agent, {}).get(generation, {})
        if not fact.body["intact"]:
            self.blame(f"{agent} recovered from checkpoint {generation}, of which no slot holds what was written", *begun.values(), index)
        elif begun and lsn not in begun:
            self.blame(f"{agent} took checkpoint {generation} to reach record {lsn}; it was written at {sorted(begun)}", *begun.values(), index)
        elif lsn > journal:
            self.blame(f"{agent} recovered a checkpoint of record {lsn}, and its journal ends at {journal}", index)
        elif generation < acknowledged:
            self.blame(f"{agent} recovered checkpoint {generation} after {acknowledged} was acknowledged", acknowledged_index, index)
        elif generation < durable:
            self.blame(f"{agent} recovered checkpoint {generation} after {durable} was durable", durable_index, index)
