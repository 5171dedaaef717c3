"""Mending: a request is repaired for the upstream that would refuse it, and sent again to the one that did.

Before it is sent, what the configuration always wants and what was learned; after a refusal, what its words call for,
one repair at a time. What an upstream then takes is learned. Beyond that its answer is the client's: also where a
repair did not help, and always where the credential is the client's own, whose answers go to it as they came.
"""

import asyncio
from typing import Final

from companion.errors import FAULTS, Fault, Kind, OnCircuit
from companion.net.h1 import Headers
from companion.protocol.repairs.record import MAX_RESENDS, STATUSES, Made
from companion.protocol.repairs.table import REPAIRS, Repaired, always, apply, find, regretted, warm, without_betas
from companion.upstream.endpoint import Candidate, Endpoints
from companion.upstream.learned import Learned
from companion.upstream.prepare import Question, model_for, prepare
from companion.upstream.transport import Outgoing
from companion.upstream.views import CandidateKey

_BETAS: Final = b"anthropic-beta"


class Mending:
    """The repairs of one request for one candidate. `made` are those that changed what was sent last."""

    def __init__(self, candidate: Candidate, learned: Learned, question: Question, wanted: tuple[Made, ...]) -> None:
        self.made: tuple[Made, ...] = ()
        self._candidate = candidate
        self._learned = learned
        self._model = model_for(candidate.settings.models, question.model)
        self._before = wanted
        self._wanted = wanted
        self._said: dict[str, str] = {}
        self._regretted: dict[str, Made] = {}
        self._sent: bytes | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What was repaired, for the record."""
        return tuple(made.name for made in self.made)

    def mend(self, outgoing: Outgoing) -> Outgoing:
        """The request as it has to be."""
        repaired = apply(self._wanted, b"".join(outgoing.body))
        self.made, self._sent = repaired.made, repaired.body
        if not repaired.made:
            return outgoing
        return Outgoing(outgoing.method, outgoing.target, _headers(outgoing, repaired), (repaired.body,))

    def again(self, fault: Fault, question: Question) -> bool:
        """Whether the request is worth sending once more after this; `mend` then gives another one."""
        answer = fault.answer
        if answer is None or len(self._said) + len(self._regretted) >= MAX_RESENDS:
            return False
        if unwanted := [made for made in regretted(self.made, answer.body) if made in self._before]:
            self._regretted |= {made.name: made for made in unwanted}
            self._wanted = tuple(made for made in self._wanted if made not in unwanted)
            return True
        # An error that came with 200 is told apart by its words all the same.
        status = answer.status if answer.status >= 300 else 400
        never = {*self._candidate.repairs.never, *self._regretted}
        made = find(status, answer.body, self._body(question), never=never, tried=self._said)
        if made is None:
            return False
        self._said[made.name] = fault.message
        self._wanted = (*(each for each in self._wanted if each.name != made.name), made)
        return True

    def accepted(self) -> None:
        """The upstream took it; the body may go."""
        self._sent = None
        candidate, about = self._candidate, self._candidate.about
        for made in self._regretted.values():
            self._learned.unlearn(about, self._model, made.name)
        for made in self.made:
            kept = REPAIRS[made.name].kept(made.parameter)
            if made.name in self._said and kept is not None:
                said = self._said[made.name]
                self._learned.learn(about, candidate.settings.name, self._model, Made(made.name, kept), said)
        self._learned.used(about, self._model, (made for made in self.made if made in self._before))

    def _body(self, question: Question) -> bytes:
        """What was sent last."""
        if self._sent is None:
            outgoing, _ = prepare(question, self._candidate.settings, self._candidate.credential)
            self._sent = b"".join(outgoing.body)
        return self._sent


class Mender:
    """Gives each request the Mending that it needs; most need none."""

    def __init__(self, endpoints: Endpoints, learned: Learned) -> None:
        self._endpoints = endpoints
        self._learned = learned
        self._warm = False

    def before(self, key: CandidateKey, question: Question) -> Mending | None:
        """For a request that is to be sent: None where nothing has to be repaired."""
        candidate = self._candidate(key, question)
        if candidate is None or not (candidate.mends or self._learned):
            return None
        settings = candidate.repairs
        known = self._learned.of(candidate.about, model_for(candidate.settings.models, question.model))
        names = {made.name for made in known}
        wanted = (*known, *always(name for name in settings.always if name not in names))
        wanted = tuple(made for made in wanted if made.name not in settings.never)
        return Mending(candidate, self._learned, question, wanted) if wanted else None

    async def after(
        self, key: CandidateKey, question: Question, fault: Fault, mending: Mending | None
    ) -> Mending | None:
        """For a request that was refused: None where that is the answer."""
        candidate = self._candidate(key, question)
        if candidate is None or candidate.passthrough or not _about_the_request(fault):
            return None
        if not self._warm:
            await asyncio.to_thread(warm)
            self._warm = True
        mending = mending or Mending(candidate, self._learned, question, ())
        return mending if mending.again(fault, question) else None

    def _candidate(self, key: CandidateKey, question: Question) -> Candidate | None:
        """Only Messages have a model, and only those are read."""
        if question.model is None:
            return None
        try:
            return self._endpoints.candidate(key)
        except KeyError:
            return None


def _about_the_request(fault: Fault) -> bool:
    """Not of a key or an account, whatever else is said; and not an answer that only has nothing in it."""
    if fault.answer is None or FAULTS[fault.kind].circuit is OnCircuit.CREDENTIAL or fault.kind is Kind.EMPTY_ANSWER:
        return False
    return fault.answer.status in STATUSES or fault.answer.status < 300


def _headers(outgoing: Outgoing, repaired: Repaired) -> tuple[tuple[bytes, bytes], ...]:
    if not repaired.betas:
        return outgoing.headers
    headers: Headers = []
    for name, value in outgoing.headers:
        kept = without_betas(value, repaired.betas) if name == _BETAS else value
        if kept or name != _BETAS:
            headers.append((name, kept))
    return tuple(headers)
