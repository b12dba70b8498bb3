"""The ``killswitch`` command: what people do to a cell; what makes one and serves it is in ``cell_command``.

Owns the words of the command line. Everything that it does is done elsewhere, and imported only by the command that needs it.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter

from killswitch import output
from killswitch.live import cell_command
from killswitch.live.cell_command import HERE, Config, among, load
from killswitch.live.exits import Exit, Wrong

Flag = Annotated[bool, Parameter(negative=())]
Who = Annotated[str, Parameter(name="--as", env_var="KILLSWITCH_AS")]

app = App(
    name="killswitch",
    help="Stop autonomous agents, and prove that they stopped.",
    help_format="plaintext",
    version="0.1.0",
    suppress_keyboard_interrupt=False,  # `run` has a code for it
)
audit_app = App(name="audit", help="Export a tenant's audit trail from a replica, and check such an export.", help_format="plaintext")
app.command(audit_app)
cell_command.add_to(app)


# -- What people do --------------------------------------------------------------------------------------------------------------------


@app.command
def order(severity: str, scope: str, *, reason: str, grace: str = "30s", who: Who = "", request: str = "", wait: str = "", draft: Path | None = None,
          config: Config = HERE, json: Flag = False) -> int:  # fmt: skip
    """Stop something: soft, hard, isolate or quiesce.

    Parameters
    ----------
    severity
        soft: finish what is begun within the grace, checkpoint, exit. hard: kill now. isolate: close the gate, leave the process. quiesce: both.
    scope
        TENANT/AGENT, TENANT, TENANT:KEY=VALUE for a label, or everything.
    reason
        Why; it goes into the audit trail.
    grace
        How long a soft stop may take.
    who
        As whom, by name; may be left out where only one person's keys are at hand.
    request
        The name of this request, to ask again under; drawn if left out.
    wait
        Wait this long for every agent's stop to be proven; exit code 2 if some is not.
    draft
        If policy wants more people to ask for it: write what they have to sign into this file, for killswitch countersign. Till then it isolates.
    config
        The cell's file.
    json
        Print one JSON document.
    """
    from killswitch.live import operator

    return operator.order(_person(config, who), severity, scope, reason, grace, request, wait, draft, as_json=json)


@app.command
def countersign(file: Path, *, wait: str = "", who: Who = "", config: Config = HERE, json: Flag = False) -> int:
    """Ask for a stop that somebody else asks for, too: show it, add your key, and hand it in. Exit code 2 while more keys are wanted.

    Parameters
    ----------
    file
        What killswitch order --draft wrote.
    wait
        Wait this long for every agent's stop to be proven; exit code 2 if some is not.
    who
        As whom; it takes somebody who may ask for that stop, or approve a resume of it.
    config
        The cell's file.
    json
        Print one JSON document.
    """
    from killswitch.live import operator

    return operator.countersign(_person(config, who), file, wait, as_json=json)


@app.command
def status(*, tenant: str = "", lifted: Flag = False, replica: str = "", who: Who = "", config: Config = HERE, json: Flag = False) -> int:
    """Orders in force, what is proven of each agent, and by when it is bounded. Exit code 2 while a stop is unconfirmed.

    Parameters
    ----------
    tenant
        One tenant; all that you may see if left out.
    lifted
        Show orders that were lifted, too.
    replica
        Whom to ask; whoever answers first if left out.
    who
        As whom.
    config
        The cell's file.
    json
        Print one JSON document.
    """
    from killswitch.live import operator

    return operator.status(_person(config, who), tenant, replica, lifted=lifted, as_json=json)


@app.command
def resume(scope: str = "", *, reason: str = "", approvers: str = "", draft: Path | None = None, submit: Path | None = None, who: Who = "",
           config: Config = HERE, json: Flag = False) -> int:  # fmt: skip
    """Lift what is in force in a scope. It takes approvals of others: by --approvers whose keys are here, or by files from hand to hand.

    Parameters
    ----------
    scope
        TENANT/AGENT, TENANT, TENANT:KEY=VALUE or everything; must be that of the order, or the whole tenant.
    reason
        Why.
    approvers
        Names, separated by commas, whose keys this machine holds.
    draft
        Write what is to be approved into this file, and stop there; each approver then adds to it by killswitch approve FILE.
    submit
        Hand in such a file.
    who
        As whom.
    config
        The cell's file.
    json
        Print one JSON document.
    """
    from killswitch.live import operator

    person = _person(config, who)
    if submit is not None:
        return operator.submit(person, submit, as_json=json)
    if not scope or not reason:
        raise Wrong("resume: needs a SCOPE and a --reason, or a file to --submit")
    return operator.resume(person, scope, reason, [name for name in approvers.split(",") if name], draft, as_json=json)


@app.command
def policy(
    stage: str, file: Path | None = None, *, percent: int = 10, guard: int = 3, request: str = "", who: Who = "", config: Config = HERE,
    json: Flag = False,
) -> int:  # fmt: skip
    """Bring a policy into force step by step, in the whole cell: shadow, canary, stable; or take it back: rolled-back.

    Parameters
    ----------
    stage
        shadow: note what it would have decided. canary: decide by it as well, for a part, where it can only stop more and resume less.
        stable: for all. rolled-back: take back what is on trial, or else the last that became stable.
    file
        The policy to try, in Cedar; the one on trial if left out.
    percent
        Of a canary: how much of the cell.
    guard
        Of a canary: how many stops it may make alone before it is taken back by itself.
    request
        The name of this request, to ask again under; drawn if left out.
    who
        As whom; it takes an operator of every tenant.
    config
        The cell's file.
    json
        Print one JSON document.
    """
    from killswitch.live import operator

    return operator.policy_step(_person(config, who), stage, file, percent, guard, request, as_json=json)


@app.command
def approve(file: Path, *, who: Who = "", config: Config = HERE) -> int:
    """Show what a draft would lift, and add your approval to it.

    Parameters
    ----------
    file
        What killswitch resume --draft wrote.
    who
        As whom.
    config
        The cell's file.
    """
    from killswitch.live import operator

    return operator.approve(_person(config, who), file)


@audit_app.command
def export(*, tenant: str, out: Path, replica: str = "", who: Who = "", config: Config = HERE) -> int:
    """Fetch a tenant's part of every replica's log, with proofs. Exit code 2 if a replica did not answer.

    Parameters
    ----------
    tenant
        Whose records.
    out
        The file to write.
    replica
        The log of this replica alone.
    who
        As whom; it takes the role of an auditor.
    config
        The cell's file.
    """
    from killswitch.live import auditor

    return auditor.export(_person(config, who), load(config), tenant, replica, out)


@audit_app.command
def verify(file: Path, *, keys: Path | None = None, replica: str = "", config: Config = HERE) -> int:
    """Check an export: every record, link, head, cosignature and proof, and that no log is missing, or ends before what others know of it.

    Exit code 0 if all holds, 1 with the first that does not, 2 if there is nothing in it to check, or no witness vouches for one of the logs.

    Parameters
    ----------
    file
        What killswitch audit export wrote.
    keys
        The cell's public keys, without its file: the public.json that killswitch pki wrote. Have them from somebody else than the export.
    replica
        The log of this replica alone has to be in it.
    config
        The cell's file, for its replicas and public keys, if --keys is left out.
    """
    from killswitch.live import auditor
    from killswitch.live import pki as made

    if keys is not None:
        return auditor.verify(file, keys, replica)
    loaded = load(config)
    return auditor.verify(file, loaded.pki / made.PUBLIC, replica, tuple(f"replica/{name}" for name in loaded.cell.replicas))


# -- Common ----------------------------------------------------------------------------------------------------------------------------


def _person(config: Path, who: str) -> Any:
    from killswitch.live import pki as keys
    from killswitch.live.remote import Remote

    loaded = load(config)
    at_hand = [name for name in loaded.cell.people if (keys.place(loaded.pki, f"operator/{name}") / "signing.key").is_file()]
    if not who and len(at_hand) != 1:
        raise Wrong(f"--as: as whom? keys are here of {', '.join(at_hand) or 'nobody; `killswitch pki` makes some'}")
    name = among(who or at_hand[0], loaded.cell.people, "--as")
    try:
        return Remote(loaded, name)
    except OSError as error:
        raise Wrong(
            f"--as {name}: {error.filename or error}: no keys and certificates to be {name} with; `killswitch pki {config.parent}` makes them"
        ) from error


def main(arguments: list[str] | None = None) -> None:
    """The command. Always raises `SystemExit`."""
    sys.exit(run(arguments))


def run(arguments: list[str] | None = None) -> int:
    """Carry out a command line; its exit code."""
    from killswitch.live.config import ConfigInvalid

    try:
        code = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()  # here, and not when the interpreter ends, where nobody could answer to a reader who has left
    except ConfigInvalid as invalid:
        return _complain(str(invalid), Exit.CONFIG)
    except Wrong as wrong:
        return _complain(str(wrong), wrong.code)
    except CycloptsError as error:
        return _complain(f"{error}\n`killswitch --help` lists commands and options", Exit.USAGE)
    except (BrokenPipeError, SystemExit) as error:  # if it is the reader who has seen enough, what was asked for stands
        return Exit.BROKEN_PIPE if output.reader_left(error) else _bug(error)
    except OSError as error:  # such as a folder that cannot be written: the message names it
        return _complain(f"killswitch: {error}", Exit.USAGE)
    except KeyboardInterrupt:
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001  # whatever it is, it is ours
        return _bug(error)
    return int(code or 0)


def _bug(error: BaseException) -> Exit:
    traceback.print_exception(error)
    return _complain("killswitch: this is a bug of ours; please report it with the lines above", Exit.BUG)


def _complain(why: str, code: Exit) -> Exit:
    print(why, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
