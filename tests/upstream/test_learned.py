"""What was learned is kept, told, forgotten and bounded."""

import pytest

from companion.clock import FakeClock
from companion.events import Events, RepairLearned
from companion.protocol.repairs.record import Made
from companion.upstream.learned import Learned, Row

CLAMP = Made("max_tokens", "8192")
ROLE = Made("system_role")


@pytest.fixture
def news() -> list[RepairLearned]:
    return []


@pytest.fixture
def learned(news: list[RepairLearned]) -> Learned:
    events = Events()
    events.subscribe(RepairLearned, news.append)
    return Learned(FakeClock(), events, limit=3)


def told(news: list[RepairLearned]) -> list[tuple[str | None, str | None, bool]]:
    return [(event.model, event.repair, event.forgotten) for event in news]


def test_facts_are_of_one_model_of_one_upstream(learned: Learned, news: list[RepairLearned]):
    assert not learned
    learned.learn("id:1", "kimi", "m", CLAMP, "too many")
    learned.learn("id:1", "kimi", "m", ROLE, "no system")

    assert learned
    assert learned.of("id:1", "m") == (CLAMP, ROLE)
    assert learned.of("id:1", "other") == learned.of("id:2", "m") == learned.of("id:1", None) == ()
    assert told(news) == [("m", "max_tokens=8192", False), ("m", "system_role", False)]
    assert (news[0].endpoint, news[0].about, news[0].said) == ("kimi", "id:1", "too many")


def test_the_latest_of_a_name_counts_and_the_one_before_is_forgotten(learned: Learned, news: list[RepairLearned]):
    for limit in ("8192", "8192", "4096"):
        learned.learn("id:1", "kimi", "m", Made("max_tokens", limit), "too many")

    assert learned.of("id:1", "m") == (Made("max_tokens", "4096"),)
    assert told(news) == [
        ("m", "max_tokens=8192", False),
        ("m", "max_tokens=8192", True),
        ("m", "max_tokens=4096", False),
    ]


def test_use_is_counted(learned: Learned):
    learned.learn("id:1", "kimi", "m", CLAMP, "too many")
    learned.used("id:1", "m", [CLAMP, ROLE])
    learned.used("id:1", "m", [CLAMP])
    learned.used("id:2", "m", [CLAMP])

    (fact,) = learned.items()
    assert (fact.used, fact.since, fact.said) == (2, FakeClock().wall(), "too many")


@pytest.mark.parametrize(
    ("which", "left"),
    [
        (("kimi",), 1),
        (("id",), 1),
        (("glm",), 3),
        (("kimi", "m"), 2),
        (("kimi", None, "system_role"), 3),
        (("kimi", "m", "max_tokens"), 3),
        (("kimi", "m", "max_tokens=8192"), 3),
        (("nobody",), 4),
    ],
)
def test_facts_are_forgotten_by_endpoint_model_and_repair(
    learned: Learned, news: list[RepairLearned], which: tuple[str, ...], left: int
):
    learned.learn("id:1", "kimi", "m", CLAMP, "")
    learned.learn("id:1", "kimi", "m", ROLE, "")
    learned.learn("id:1", "kimi", "n", CLAMP, "")
    learned.learn("other:1", "glm", "m", CLAMP, "")
    news.clear()

    assert learned.forget(*which) == 4 - left
    assert len(learned.items()) == left
    assert [event.forgotten for event in news] == [True] * (4 - left)


def test_without_facts_nobody_need_ask(learned: Learned):
    learned.learn("id:1", "kimi", None, CLAMP, "")
    learned.unlearn("id:1", None, "system_role")
    assert learned
    learned.unlearn("id:1", None, "max_tokens")
    assert not learned


def test_those_go_that_were_of_use_longest_ago(learned: Learned, news: list[RepairLearned]):
    for model in "abc":
        learned.learn("id:1", "kimi", model, CLAMP, "")
    learned.used("id:1", "a", [CLAMP])
    learned.learn("id:1", "kimi", "d", CLAMP, "")

    assert [fact.model for fact in learned.items()] == ["c", "a", "d"]
    assert told(news)[-1] == ("b", "max_tokens=8192", True)


def test_what_was_kept_is_taken_over_without_news(learned: Learned, news: list[RepairLearned]):
    learned.learn("id:1", "kimi", "m", Made("max_tokens", "4096"), "")
    news.clear()
    learned.load(
        [
            Row("id:1", "m", "max_tokens=8192", "kimi", "too many", 5.0),
            Row("id:1", "", "images", "kimi", "no images", 6.0),
            Row("id:1", "x", "no_longer_known", "kimi", "", 7.0),
        ]
    )

    assert [(fact.model, str(fact.repair), fact.since) for fact in learned.items()] == [
        ("m", "max_tokens=4096", FakeClock().wall()),
        ("", "images", 6.0),
    ]
    assert learned.of("id:1", None) == (Made("images"),)
    assert news == []
