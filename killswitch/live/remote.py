"""The operator's end of the API: a person's requests, signed with the person's key, to whichever replica answers.

Owns asking one replica after the other, and knowing an answer from a refusal. Must not know the command line. Asking again is always safe: a request
keeps its name, and the same name gives the same order everywhere.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any, Final

from msgspec import Struct, structs

from killswitch.core import codec, intent, policy, trust
from killswitch.core.bundles import RolloutRequest
from killswitch.core.certificates import Approval, ResumeCertificate, ResumeDraftRequest
from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.keys import EVERY_TENANT, Ed25519
from killswitch.core.messages import Gate, Life, OrderRequest
from killswitch.core.trust import Trust
from killswitch.live import pki
from killswitch.live.config import Loaded, split
from killswitch.live.credentials import Credentials, Stranger
from killswitch.live.meant import meant

CONNECT_S: Final = 3.0
ANSWER_S: Final = 10.0


class Refused(Exception):
    """A replica answered, and the answer is no."""


class Unreachable(Exception):
    """No replica answered; what was asked may have happened or not."""


class Answer(Struct, frozen=True):
    """A replica's answer. ``code`` is HTTP's."""

    replica: str
    code: int
    body: Any


class Remote:
    """The API as ``person`` has it. Raises `OSError` if the person's credentials cannot be read, naming the file."""

    def __init__(self, loaded: Loaded, person: str) -> None:
        self.person = person
        self._loaded = loaded
        self._credentials = Credentials(pki.files(loaded.pki, loaded.cell.trust_domain, f"operator/{person}"))
        self._trust = Trust(Ed25519(pki.signing_key(loaded.pki, f"operator/{person}"), {}), loaded.keyset(), 1)

    def also(self, person: str) -> Remote:
        """The same for somebody else whose keys are here. Raises `OSError`."""
        return Remote(self._loaded, person)

    def unlisted(self, tenant: str) -> str:
        """What to add where something was refused that concerns a tenant which the cell's file does not have; empty if it has."""
        tenants = self._loaded.cell.tenants
        return "" if tenant in (*tenants, EVERY_TENANT) else f"; the cell's file has no tenant {tenant}: {meant(tenant, tenants)}"

    # -- Signed requests -------------------------------------------------------------------------------------------------------------

    def order(self, asked: OrderRequest) -> Answer:
        """Issue a stop. Raises `Refused` or `Unreachable`."""
        return self.ask("POST", "/v1/orders", _form(trust.sign_request(self._trust, asked)))

    def signed(self, asked: OrderRequest) -> tuple[bytes, bytes]:
        """What others sign who ask for the same: the bytes of the request, and this person's signature over them."""
        return codec.unsigned(asked), trust.sign_request(self._trust, asked).signature

    def countersign(self, request: str, raw: str, signature: str) -> dict[str, str]:
        """This person's signature over a stop that somebody else asked for, as the API takes it. Raises `ValueError` for what is no such request."""
        asked = read_request(request, raw, signature)
        if asked is None:
            raise ValueError("not a request for a stop")
        signed = trust.countersign(self._trust, self.person, asked)
        return {"countersigner": signed.countersigner, "signature": base64.b64encode(signed.signature).decode()}

    def countersigned(self, request: str, raw: str, signature: str, countersignatures: list[dict[str, str]]) -> Answer:
        """Hand in a stop with the signatures of all who ask for it. Raises `Refused` or `Unreachable`."""
        body = {"request": request, "raw": raw, "signature": signature, "countersignatures": countersignatures}
        return self.ask("POST", "/v1/orders/countersigned", body)

    def draft(self, asked: ResumeDraftRequest) -> Answer:
        """Ask what a resume would lift. Raises `Refused` or `Unreachable`."""
        return self.ask("POST", "/v1/resumes/drafts", _form(trust.sign_request(self._trust, asked)))

    def stoppable(self, text: str) -> dict[str, bool]:
        """{agent of the cell's file: whether any of its operators could stop it, or merely isolate it, under the policy ``text``}."""
        bundle, people = policy.Bundle(text), self._loaded.cell.people.items()
        found = {}
        for tenant, part in self._loaded.cell.tenants.items():
            operators = [person for person, who in people if "operator" in who.roles and {tenant, EVERY_TENANT} & {*who.tenants}]
            for agent in (f"{tenant}/{name}" for name in part.agents):
                asked = (
                    policy.Request(
                        principal=person, action=policy.STOP, authorised=True, tenant=tenant, scope_kind="agent", scope_value=agent,
                        gate=Gate.CLOSED, life=Life.KILL, asking=len(operators),
                    )
                    for person in operators
                )  # fmt: skip
                found[agent] = any(policy.decide(bundle, each).allowed for each in asked)
        return found

    def policy(self, asked: RolloutRequest) -> Answer:
        """Try, promote or take back a policy. Raises `Refused` or `Unreachable`."""
        return self.ask("POST", "/v1/policies", _form(trust.sign_request(self._trust, asked)))

    def asks_for(self, raw: str) -> dict[str, str]:
        """This person's signature over a draft that was made for them, as the API takes it: they ask for exactly this."""
        return _signature(trust.sign_asked(self._trust, self.person, base64.b64decode(raw, validate=True)))

    def approve(self, raw: str) -> dict[str, str]:
        """This person's signature over a draft, as the API takes it. Raises `ValueError` for what is no draft."""
        body = base64.b64decode(raw, validate=True)
        if trust.read_draft(body) is None:
            raise ValueError("not a draft of a resume")
        return _signature(trust.sign_approval(self._trust, self.person, body))

    def is_asked_for(self, raw: str, asked: dict[str, str]) -> bool:
        """Whether the person in whose name a draft is signed exactly it. Raises as `objection` does."""
        given = Approval(asked["approver"], base64.b64decode(asked["signature"], validate=True))
        known = intent.read_certificate(ResumeCertificate(base64.b64decode(raw, validate=True), (given,)))
        return known is not None and trust.is_asked_for(self._public(), known)

    def objection(self, raw: str, approval: dict[str, str]) -> str:
        """Why an approval of a draft will not count, as far as the cell's file and the public keys here say; empty if it will. Raises `OSError` or
        `ValueError` if those keys cannot be read: what needs none of them, a stop above all, does not wait for them."""
        known = intent.read_certificate(ResumeCertificate(base64.b64decode(raw, validate=True), ()))
        given = Approval(approval["approver"], base64.b64decode(approval["signature"], validate=True))
        return "not a draft of a resume" if known is None else trust.objection(self._public(), known, given)

    def _public(self) -> trust.Trust:
        """What this machine knows of everybody's keys, to check signatures with."""
        return self._trust._replace(signer=Ed25519({}, pki.public_keys(self._loaded.pki)))

    def resume(self, request: str, raw: str, approvals: list[dict[str, str]]) -> Answer:
        """Hand in a draft with its approvals. Raises `Refused` or `Unreachable`."""
        return self.ask("POST", "/v1/resumes", {"request": request, "raw": raw, "approvals": approvals})

    # -- Asking ----------------------------------------------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None, replica: str = "") -> Answer:
        """Ask ``replica``, or each in turn until one answers for good. Raises `Refused` or `Unreachable`."""
        silent = []
        for name, part in self._loaded.cell.replicas.items():
            if replica not in ("", name):
                continue
            try:
                answer = self._ask_one(name, part.api, method, path, body)
            except (OSError, http.client.HTTPException, Stranger) as error:
                silent.append(f"replica {name} at {part.api}: {error}")
                continue
            if answer.code == 503:  # it cannot say; another can
                silent.append(f"replica {name}: {answer.body.get('detail', 'no answer')}")
                continue
            if answer.code >= 400 and answer.code != 409:
                raise Refused(_why(answer))
            return answer
        raise Unreachable("; ".join(silent) or f"there is no replica {replica}")

    def _ask_one(self, name: str, address: str, method: str, path: str, body: dict[str, Any] | None) -> Answer:
        host, port = split(address)
        connection = http.client.HTTPSConnection(host, port, timeout=CONNECT_S, context=self._credentials.client())
        try:
            connection.connect()
            secured = connection.sock
            assert isinstance(secured, ssl.SSLSocket)
            self._credentials.expect(f"replica/{name}", secured)
            secured.settimeout(ANSWER_S)
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"content-type": "application/json"} if content else {})
            response = connection.getresponse()
            said = response.read()
            form = response.headers.get_content_type()
            return Answer(name, response.status, json.loads(said) if form == "application/json" else said.decode())
        finally:
            connection.close()


def read_request(request: str, raw: str, signature: str) -> OrderRequest | None:
    """The stop that a file hands from one person to the next. Raises `ValueError` for what is not base64."""
    body, signed = (base64.b64decode(text, validate=True) for text in (raw, signature))
    return trust.read_countersigned(CountersignedRequest(request, body, signed, ()))


def _form(asked: OrderRequest | ResumeDraftRequest | RolloutRequest) -> dict[str, Any]:
    """A signed request as the API takes it: whose it is, the certificate says."""
    form = structs.asdict(asked)
    del form["principal"]
    if not isinstance(asked, RolloutRequest):
        form["scope"] = {"kind": asked.scope.kind, "value": asked.scope.value}
    form["signature"] = base64.b64encode(asked.signature).decode()
    return form


def _signature(given: Approval) -> dict[str, str]:
    """As the API takes it."""
    return {"approver": given.approver, "signature": base64.b64encode(given.signature).decode()}


def _why(answer: Answer) -> str:
    detail = answer.body.get("detail", answer.body) if isinstance(answer.body, dict) else answer.body
    if isinstance(detail, list):  # what the form of the request does not allow
        detail = "; ".join(f"{'.'.join(str(part) for part in each.get('loc', ())[1:])}: {each.get('msg', '')}" for each in detail)
    return f"replica {answer.replica}: {detail}"
