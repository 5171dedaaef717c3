"""The order of a plan, its reasons, and what holds for every plan there can be."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from companion.routing.plan import Plan, plan
from companion.upstream.reasons import Reason, ReasonCode
from companion.upstream.views import CandidateKey, CandidateView, CircuitState

Views = tuple[CandidateView, ...]
Labels = frozenset[str]

NONE: Labels = frozenset()


def reason(text: str) -> Reason:
    return Reason(ReasonCode.UNRESOLVED, {"problem": text})


def view(name: str, index: int = 0, credential: int = 0, **fields: Any) -> CandidateView:
    return replace(CandidateView(CandidateKey(name, credential), name, index, 1, 1.0, frozenset()), **fields)


def opened(name: str, index: int = 0, credential: int = 0, **fields: Any) -> CandidateView:
    state: dict[str, Any] = {
        "state": CircuitState.OPEN,
        "ready": False,
        "until": 2_000.0,
        "reason": reason("open: 3 x reset"),
    }
    return view(name, index, credential, **(state | fields))


def limited(name: str, index: int = 0, until: float = 2_000.0, **fields: Any) -> CandidateView:
    return view(name, index, ready=False, limited=True, until=until, reason=reason("rate limited"), **fields)


def order(made: Plan) -> list[str]:
    return [f"{entry.view.name}{entry.view.key.credential or ''}" for entry in made.chosen]


def reasons(made: Plan) -> dict[str, str]:
    return {entry.view.name: entry.reason for entry in made.entries}


# === order


def test_lower_priority_numbers_come_first() -> None:
    made = plan((view("b", 0, priority=2), view("a", 1, priority=1), view("c", 2, priority=3)), NONE, NONE)
    assert order(made) == ["a", "b", "c"]
    assert reasons(made) == {"a": "priority 1", "b": "priority 2", "c": "priority 3"}


def test_within_a_priority_the_heavier_comes_first_then_the_file_then_the_credential() -> None:
    views = (view("a", 0, 1), view("a", 0, 0), view("b", 1), view("c", 2, weight=2.0))
    assert order(plan(views, NONE, NONE)) == ["c", "a", "a1", "b"]


def test_a_recovering_candidate_has_only_a_share_of_its_weight() -> None:
    views = (view("a", 0, weight=5.0, ramp=0.1, reason=reason("ramp: 10%")), view("b", 1))
    made = plan(views, NONE, NONE)
    assert order(made) == ["b", "a"]
    assert reasons(made)["a"] == "priority 1, ramp: 10%"


def test_a_recovering_candidate_keeps_its_priority() -> None:
    assert order(plan((view("a", 0, ramp=0.1), view("b", 1, priority=2, weight=9.0)), NONE, NONE)) == ["a", "b"]


def test_who_cut_this_session_off_comes_last_and_is_never_out() -> None:
    views = (view("a", 0, 0), view("a", 0, 1), view("b", 1, priority=9))
    made = plan(views, NONE, frozenset({"a"}))
    assert order(made) == ["b", "a", "a1"]
    assert reasons(made)["a"] == "priority 1, shunned: cut this session off"


# === circuits


def test_an_open_circuit_comes_after_all_who_are_ready_and_is_forced() -> None:
    made = plan((opened("a", 0), view("b", 1, priority=9)), NONE, NONE)
    assert order(made) == ["b", "a"]
    assert [(entry.forced, entry.reason) for entry in made.chosen] == [
        (False, "priority 9"),
        (True, "forced, open: 3 x reset"),
    ]


def test_a_shunned_candidate_comes_before_an_open_one() -> None:
    assert order(plan((opened("a", 0), view("b", 1)), NONE, frozenset({"b"}))) == ["b", "a"]


def test_where_nobody_else_is_left_no_circuit_refuses() -> None:
    views = (
        opened("open", 0),
        view("busy", 1, state=CircuitState.HALF_OPEN, ready=False, reason=reason("half-open: 1 try under way")),
        opened("dead", 2, reason=reason("credential open: 1 x unauthorized"), until=9_999.0),
    )
    made = plan(views, NONE, NONE)
    assert order(made) == ["open", "busy", "dead"]
    assert all(entry.forced for entry in made.chosen)


def test_forced_candidates_keep_the_users_order_whoever_recovers_sooner() -> None:
    views = (opened("a", 0, priority=2, until=1_001.0), opened("b", 1, priority=1, until=9_999.0))
    assert order(plan(views, NONE, NONE)) == ["b", "a"]


def test_a_half_open_candidate_with_a_free_permit_has_its_own_place() -> None:
    tested = view("a", 0, state=CircuitState.HALF_OPEN, reason=reason("half-open: 0 of 2 successes"))
    made = plan((tested, view("b", 1)), NONE, NONE)
    assert order(made) == ["a", "b"]
    assert reasons(made)["a"] == "priority 1, half-open: 0 of 2 successes"


def test_a_refusal_without_a_reason_still_has_one() -> None:
    made = plan((view("a", ready=False, state=CircuitState.OPEN),), NONE, NONE)
    assert reasons(made) == {"a": "forced, open"}


# === out


def test_a_running_rate_limit_is_out_and_says_until_when() -> None:
    made = plan((limited("a", 0, 2_500.0), limited("b", 1, 2_100.0), opened("c", 2)), NONE, NONE)
    assert order(made) == ["c"]
    assert reasons(made)["a"] == "rate limited"
    assert [entry.view.name for entry in made.waiting] == ["a", "b"]
    assert made.recovery == 2_100.0


def test_nobody_who_waits_means_no_recovery_is_known() -> None:
    assert plan((view("a"), opened("b", 1)), NONE, NONE).recovery is None


def test_a_limit_without_a_known_end_promises_nothing() -> None:
    made = plan((limited("a"), view("b", 1, ready=False, limited=True)), NONE, NONE)
    assert (len(made.waiting), made.recovery) == (2, 2_000.0)


def test_who_cannot_be_used_at_all_is_no_recovery() -> None:
    views = (limited("a", 0, 1_001.0, unusable="disabled"), limited("b", 1, 1_002.0, labels=frozenset({"x"})))
    made = plan(views, NONE, NONE)
    assert reasons(made) == {"a": "disabled", "b": "labels: only for x"}
    assert (made.recovery, made.waiting) == (None, ())


def test_who_is_left_out_is_listed_in_the_files_order() -> None:
    views = (view("b", 1, unusable="${B} is not set"), limited("c", 2), view("a", 0, unusable="disabled"))
    made = plan(views, NONE, NONE)
    assert [(entry.view.name, entry.reason) for entry in made.entries] == [
        ("a", "disabled"),
        ("b", "${B} is not set"),
        ("c", "rate limited"),
    ]


def test_no_views_make_an_empty_plan() -> None:
    made = plan((), NONE, NONE)
    assert (made.entries, made.chosen, made.single, made.recovery) == ((), (), False, None)


# === labels


def labelled() -> tuple[CandidateView, ...]:
    return (
        view("universal", 0),
        view("cheap", 1, priority=5, labels=frozenset({"cheap"})),
        view("both", 2, priority=6, labels=frozenset({"cheap", "long"})),
    )


def test_an_unlabelled_request_goes_to_universal_endpoints_only() -> None:
    made = plan(labelled(), NONE, NONE)
    assert order(made) == ["universal"]
    assert reasons(made)["both"] == "labels: only for cheap, long"


def test_a_labelled_request_tries_matching_endpoints_first_then_universal_ones() -> None:
    made = plan(labelled(), frozenset({"cheap"}), NONE)
    assert order(made) == ["cheap", "both", "universal"]
    assert reasons(made) == {
        "cheap": "labels: has cheap, priority 5",
        "both": "labels: has cheap, priority 6",
        "universal": "labels: universal, priority 1",
    }


def test_all_labels_of_a_request_must_be_on_the_endpoint() -> None:
    made = plan(labelled(), frozenset({"cheap", "long"}), NONE)
    assert order(made) == ["both", "universal"]
    assert reasons(made)["cheap"] == "labels: lacks long"


def test_a_universal_endpoint_that_is_ready_comes_before_a_matching_one_that_is_open() -> None:
    views = (view("universal", 0), opened("cheap", 1, labels=frozenset({"cheap"})))
    assert order(plan(views, frozenset({"cheap"}), NONE)) == ["universal", "cheap"]


# === one endpoint


def test_a_plan_with_one_endpoint_is_single_however_many_credentials_it_has() -> None:
    assert plan((view("a", 0, 0), opened("a", 0, 1)), NONE, NONE).single


def test_those_left_out_do_not_make_it_two() -> None:
    assert plan((view("a"), view("b", 1, unusable="disabled"), limited("c", 2)), NONE, NONE).single


def test_two_endpoints_are_not_single() -> None:
    assert not plan((view("a"), opened("b", 1)), NONE, NONE).single


# === every plan

names = st.sampled_from(["a", "b", "c", "d"])
label_sets = st.frozensets(st.sampled_from(["x", "y"]), max_size=2)


@st.composite
def some_views(draw: st.DrawFn) -> tuple[CandidateView, ...]:
    made = []
    for index, name in enumerate(draw(st.lists(names, unique=True, max_size=4))):
        labels = draw(label_sets)
        priority, weight = draw(st.integers(1, 3)), draw(st.sampled_from([0.5, 1.0, 2.0]))
        for credential in range(draw(st.integers(1, 2))):
            health: dict[str, Any] = draw(
                st.sampled_from(
                    [
                        {},
                        {"ramp": 0.4, "reason": reason("ramp: 40%")},
                        {"state": CircuitState.HALF_OPEN, "reason": reason("half-open: 0 of 2 successes")},
                        {
                            "state": CircuitState.OPEN,
                            "ready": False,
                            "until": 2_000.0,
                            "reason": reason("open: 3 x reset"),
                        },
                        {
                            "state": CircuitState.HALF_OPEN,
                            "ready": False,
                            "reason": reason("half-open: 1 try under way"),
                        },
                        {"ready": False, "limited": True, "until": 1_500.0, "reason": reason("rate limited")},
                        {"unusable": "disabled"},
                    ]
                )
            )
            made.append(view(name, index, credential, labels=labels, priority=priority, weight=weight, **health))
    return tuple(made)


plans = {"views": some_views(), "labels": label_sets, "shunned": st.frozensets(names)}


@given(**plans)
def test_a_plan_accounts_for_every_candidate_once(views: Views, labels: Labels, shunned: Labels) -> None:
    made = plan(views, labels, shunned)
    assert sorted(map(repr, (entry.view for entry in made.entries))) == sorted(map(repr, views))
    assert all(entry.reason for entry in made.entries)


@given(**plans)
def test_the_chosen_come_before_those_left_out_and_the_ready_before_the_forced(
    views: Views, labels: Labels, shunned: Labels
) -> None:
    made = plan(views, labels, shunned)
    ranks = [(not entry.chosen, entry.forced) for entry in made.entries]
    assert ranks == sorted(ranks)
    assert all(entry.view.ready != entry.forced for entry in made.chosen)


@given(**plans)
def test_only_limits_labels_and_the_unusable_keep_anybody_out(views: Views, labels: Labels, shunned: Labels) -> None:
    for entry in plan(views, labels, shunned).entries:
        candidate = entry.view
        fits = not candidate.labels or (labels and labels <= candidate.labels)
        assert entry.chosen == (candidate.unusable is None and not candidate.limited and bool(fits))
        assert entry.waiting == (candidate.unusable is None and candidate.limited and bool(fits))


@given(**plans, data=st.data())
def test_the_order_of_the_views_does_not_matter(
    views: Views, labels: Labels, shunned: Labels, data: st.DataObject
) -> None:
    shuffled = tuple(data.draw(st.permutations(views)))
    assert plan(shuffled, labels, shunned) == plan(views, labels, shunned)


@given(**plans)
def test_within_a_tier_the_users_order_holds(views: Views, labels: Labels, shunned: Labels) -> None:
    made = plan(views, labels, shunned)
    for earlier, later in zip(made.chosen, made.chosen[1:], strict=False):
        tiers = [
            (entry.forced, entry.view.key.endpoint in shunned, not entry.view.labels) for entry in (earlier, later)
        ]
        assert tiers[0] <= tiers[1]
        if tiers[0] == tiers[1]:
            assert earlier.view.priority <= later.view.priority


@given(**plans)
def test_recovery_is_the_first_of_those_who_wait(views: Views, labels: Labels, shunned: Labels) -> None:
    made = plan(views, labels, shunned)
    assert (made.recovery is None) == (not made.waiting)
