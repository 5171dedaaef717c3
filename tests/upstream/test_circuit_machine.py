"""Whatever tries, probes and resets come, in whatever order: what must never happen to a circuit, permit and slots."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from companion.clock import FakeClock
from companion.errors import Fault, Kind, Party, Phase
from companion.events import CircuitChanged, Events
from companion.upstream.circuit import Policy
from companion.upstream.endpoint import Try
from companion.upstream.health import Health
from companion.upstream.limits import LONGEST_WAIT, Slots
from companion.upstream.views import CandidateKey, CandidateView, CircuitState

CLOSED, OPEN, HALF_OPEN = CircuitState.CLOSED, CircuitState.OPEN, CircuitState.HALF_OPEN
POLICY = Policy(failures=3, window=60.0, open=10.0, open_max=600.0)
SLOTS = 4
KEY = CandidateKey("one", 0)
CALM = CandidateView(KEY, "one", 0, 1, 1.0, frozenset())
EDGES = {(CLOSED, OPEN), (OPEN, HALF_OPEN), (OPEN, CLOSED), (HALF_OPEN, OPEN), (HALF_OPEN, CLOSED)}

picks = st.integers(min_value=0, max_value=SLOTS - 1)
waits = st.one_of(
    st.none(), st.floats(min_value=0, max_value=1000), st.sampled_from([float("inf"), float("nan"), -1.0])
)


class CircuitMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        events = Events()
        self.changes: list[CircuitChanged] = []
        events.subscribe(CircuitChanged, self.heard)
        self.slots = Slots(SLOTS)
        self.health = Health(KEY, POLICY, self.clock, events)
        self.running: dict[Try, float] = {}
        self.probe: object | None = None
        self.probe_began = 0.0
        self.proved_live = True
        self.in_a_row = 0
        self.since = 0.0

    def heard(self, change: CircuitChanged) -> None:
        self.changes.append(change)
        if change.after != HALF_OPEN:
            self.since = self.clock.now
        if change.after == OPEN:
            self.proved_live = False
        self.in_a_row = 0

    @property
    def view(self) -> CandidateView:
        return self.health.seen(CALM, None)

    @rule(seconds=st.floats(min_value=0.01, max_value=700), dice=st.floats(min_value=0, max_value=0.999))
    def time_goes_on(self, seconds: float, dice: float) -> None:
        self.clock.advance(seconds)
        self.clock.dice = dice

    @rule()
    def a_try_begins(self) -> None:
        taken = self.slots.take()
        assert taken == (len(self.running) < SLOTS)
        if taken:
            self.running[Try(self.health, self.clock.now, None, self.slots)] = self.clock.now

    @precondition(lambda self: self.running)
    @rule(pick=picks)
    def its_gate_opens(self, pick: int) -> None:
        list(self.running)[pick % len(self.running)].proved()

    @precondition(lambda self: self.running)
    @rule(pick=picks)
    def it_succeeds(self, pick: int) -> None:
        tried, began = self.pop(pick)
        if began >= self.since:
            self.in_a_row = 0
            self.proved_live = True
        tried.settle(None)

    @precondition(lambda self: self.running)
    @rule(pick=picks, kind=st.sampled_from([Kind.RESET, Kind.OVERLOADED]), retry_after=waits)
    def it_fails(self, pick: int, kind: Kind, retry_after: float | None) -> None:
        tried, began = self.pop(pick)
        before = len(self.changes)
        counts = began >= self.since
        trusted, closed = self.proved_live, self.view.state is CLOSED
        tried.settle(Fault(Party.UPSTREAM, Phase.HEADERS, kind, retry_after=retry_after))
        if counts and len(self.changes) == before:
            self.in_a_row += 1
        if counts and closed and not trusted:
            assert self.changes[-1].after == OPEN
        if counts and not closed:
            self.proved_live = False

    @precondition(lambda self: self.probe is None and self.due)
    @rule()
    def a_probe_begins(self) -> None:
        self.probe, self.probe_began = object(), self.clock.now
        self.health.begin(self.probe, None)
        assert self.health._whole.circuit._holder is self.probe

    @precondition(lambda self: self.probe is not None)
    @rule(well=st.booleans())
    def it_ends(self, well: bool) -> None:
        probe, self.probe = self.probe, None
        assert probe is not None
        self.health.release(probe, None)
        closed = self.view.state is CLOSED
        before = len(self.changes)
        fault = None if well else Fault(Party.UPSTREAM, Phase.HEADERS, Kind.RESET)
        self.health.probed(self.probe_began, fault, None, cheap=True)
        assert not closed or len(self.changes) == before
        if well and not closed and self.probe_began >= self.since:
            self.in_a_row = 0

    @rule()
    def it_is_reset(self) -> None:
        self.health.reset()
        self.in_a_row = 0
        self.proved_live = True
        self.since = self.clock.now
        assert self.view is CALM

    @precondition(lambda self: self.running)
    @rule(pick=picks, kind=st.sampled_from([Kind.CANCELLED, Kind.BAD_REQUEST, Kind.INTERNAL]), count=st.booleans())
    def it_ends_without_a_verdict(self, pick: int, kind: Kind, count: bool) -> None:
        tried, _ = self.pop(pick)
        before = self.view
        tried.settle(Fault(Party.CLIENT, Phase.BODY, kind), count=count)
        assert self.view.state == before.state

    @rule()
    def it_recovers(self) -> None:
        """From wherever it is: its time passes, two tries are answered, and it is closed."""
        if self.view.until is not None:
            self.clock.advance(self.view.until - self.clock.now)
        for _ in range(2):
            Try(self.health, self.clock.now, None, None).settle(None)
        self.in_a_row = 0
        self.proved_live = True
        assert self.view.state is CLOSED

    @precondition(lambda self: self.view.state is not CLOSED and self.probe is None)
    @rule()
    def probes_bring_it_back(self) -> None:
        """Closed, and not trusted before a request has been answered."""
        proved = self.proved_live
        for _ in range(2):
            if self.view.until is not None:
                self.clock.advance(self.view.until - self.clock.now)
            self.health.begin(self.health, None)
            self.health.release(self.health, None)
            self.health.probed(self.clock.now, None, None, cheap=True)
        assert self.view.state is CLOSED
        self.proved_live = proved
        self.in_a_row = 0

    @property
    def due(self) -> bool:
        return any(each.due <= self.clock.now and not each.busy for each in self.health.suspects())

    def pop(self, pick: int) -> tuple[Try, float]:
        tried = list(self.running)[pick % len(self.running)]
        return tried, self.running.pop(tried)

    @invariant()
    def open_is_never_ready_before_its_time(self) -> None:
        view = self.view
        assert (view.state is OPEN) == (view.until is not None)
        if view.until is not None:
            assert not view.ready
            assert 0 < view.until - self.clock.now <= LONGEST_WAIT

    @invariant()
    def a_deadline_never_comes_nearer(self) -> None:
        opened = self.changes[-1] if self.changes else None
        if opened is not None and opened.until is not None and self.view.until is not None:
            assert self.view.until >= opened.until

    @invariant()
    def a_permit_is_held_by_one_running_try_or_by_nobody(self) -> None:
        holder = self.health._whole.circuit._holder
        assert holder is None or holder in self.running or holder is self.probe
        if self.view.state is HALF_OPEN:
            assert self.view.ready == (holder is None)

    @invariant()
    def enough_faults_in_a_row_open_it(self) -> None:
        assert self.view.state is not CLOSED or self.in_a_row < POLICY.failures

    @invariant()
    def closed_is_ready_and_its_share_is_a_share(self) -> None:
        view = self.view
        assert view.state is not CLOSED or view.ready
        assert 0.1 <= view.ramp <= 1.0

    @invariant()
    def slots_are_those_of_running_tries(self) -> None:
        assert self.slots.used == len(self.running) <= SLOTS

    @invariant()
    def transitions_follow_the_drawing(self) -> None:
        state = CLOSED.value
        for change in self.changes:
            assert change.before == state
            assert (CircuitState(change.before), CircuitState(change.after)) in EDGES
            state = change.after


CircuitMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCircuitMachine = CircuitMachine.TestCase
