"""A limit for a block: it ends the block, and nothing else."""

import asyncio

import pytest

from companion.proxy.deadline import Deadline


async def test_a_block_that_takes_too_long_ends_with_a_timeout():
    with pytest.raises(TimeoutError), Deadline(0.01):
        await asyncio.Event().wait()

    await asyncio.sleep(0)


async def test_a_block_that_is_done_in_time_is_left_alone():
    with Deadline(0.02):
        await asyncio.sleep(0)

    await asyncio.sleep(0.05)


async def test_what_the_block_raises_passes():
    with pytest.raises(ValueError, match="mine"), Deadline(1):
        raise ValueError("mine")


async def test_somebody_elses_cancelling_stays_one():
    async def work() -> None:
        with Deadline(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_of_two_cancellings_at_once_the_other_one_wins():
    async def work() -> None:
        with Deadline(0):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises((asyncio.CancelledError, TimeoutError)):
        await task
    assert task.done()


async def test_it_can_be_used_again_in_the_same_task():
    for _ in range(3):
        with pytest.raises(TimeoutError), Deadline(0):
            await asyncio.Event().wait()
