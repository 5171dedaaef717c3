"""An alarm rings when its deadline has come, not when its timer runs out."""

import asyncio
import math

from companion.clock import FakeClock, SystemClock
from companion.net.alarm import Alarm


class Watched:
    """A deadline that a test moves, and how often it was asked for and missed."""

    def __init__(self, due: float = math.inf) -> None:
        self.due = due
        self.asked = 0
        self.rung = asyncio.Event()

    def when(self) -> float:
        self.asked += 1
        return self.due


async def test_it_rings_when_the_deadline_has_come():
    clock = SystemClock()
    watched = Watched(clock.monotonic() + 0.03)
    Alarm(clock, watched.when, watched.rung.set).arm(watched.due)
    await asyncio.wait_for(watched.rung.wait(), 5)
    assert clock.monotonic() >= watched.due - 0.002


async def test_a_deadline_that_moved_away_is_waited_for():
    clock = FakeClock()
    watched = Watched(clock.now + 0.01)
    alarm = Alarm(clock, watched.when, watched.rung.set)
    alarm.arm(watched.due)
    watched.due = clock.now + 0.02
    await asyncio.sleep(0.1)
    assert watched.asked > 0
    assert not watched.rung.is_set()
    clock.advance(0.02)
    await asyncio.wait_for(watched.rung.wait(), 5)


async def test_arming_for_later_costs_no_timer_and_arming_for_sooner_does():
    clock = SystemClock()
    watched = Watched()
    alarm = Alarm(clock, watched.when, watched.rung.set)
    alarm.arm(math.inf)
    alarm.arm(clock.monotonic() + 20)
    alarm.arm(clock.monotonic() + 30)
    watched.due = clock.monotonic()
    alarm.arm(watched.due)
    await asyncio.wait_for(watched.rung.wait(), 5)
    assert watched.asked == 1


async def test_a_deadline_that_is_no_more_ends_the_watch():
    clock = SystemClock()
    watched = Watched()
    Alarm(clock, watched.when, watched.rung.set).arm(clock.monotonic())
    await asyncio.sleep(0.05)
    assert watched.asked == 1
    assert not watched.rung.is_set()


async def test_a_cancelled_alarm_is_silent_and_can_be_armed_again():
    clock = SystemClock()
    watched = Watched(clock.monotonic())
    alarm = Alarm(clock, watched.when, watched.rung.set)
    alarm.arm(watched.due)
    alarm.cancel()
    await asyncio.sleep(0.02)
    assert watched.asked == 0
    alarm.arm(watched.due)
    await asyncio.wait_for(watched.rung.wait(), 5)
