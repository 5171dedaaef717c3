"""A change of the file is live soon, whole, and once; one that cannot be used is told once and changes nothing."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from companion.config.edit import Editor
from companion.config.file import Loaded, load
from companion.config.watch import EVERY, Watcher
from companion.errors import ConfigError
from tests.config.files import one, written

TICK = 0.05
KEYED = one(auth="{type: api_key, values: ['file:key']}")


class Seen:
    """What a watcher told, in order: a Loaded's validation or key, or the refusal's text."""

    def __init__(self) -> None:
        self.told: list[str | None] = []
        self.news = asyncio.Event()

    def changed(self, loaded: Loaded) -> None:
        keys = [each.value for each in loaded.credentials.get("a", ())]
        self.tell(keys[0] if keys else loaded.settings.validation)

    def refused(self, error: ConfigError) -> None:
        self.tell(str(error))

    def tell(self, what: str | None) -> None:
        self.told.append(what)
        self.news.set()

    async def next(self) -> list[str | None]:
        """Waits for the next piece of news, and gives all since the last time."""
        async with asyncio.timeout(20):
            await self.news.wait()
        told, self.told = self.told, []
        self.news.clear()
        return told

    async def quiet(self) -> None:
        """Some rounds later there is still nothing new."""
        await asyncio.sleep(8 * TICK)
        assert self.told == []


@contextlib.asynccontextmanager
async def watching(path: Path, since: Loaded | None = None) -> AsyncIterator[Seen]:
    seen = Seen()
    task = asyncio.create_task(Watcher(path, seen.changed, seen.refused, since=since, every=TICK).run())
    try:
        yield seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def replace(path: Path, text: str) -> None:
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


async def test_a_file_that_does_not_change_is_no_news(tmp_path):
    path = written(tmp_path, "validation: strict\n")
    async with watching(path, load(path)) as seen:
        await seen.quiet()


async def test_each_atomic_replacement_is_taken_over(tmp_path):
    path = written(tmp_path, "")
    async with watching(path, load(path)) as seen:
        for mode in ("strict", "observe", "repair"):
            replace(path, f"validation: {mode}\n")
            assert await seen.next() == [mode]


async def test_a_file_of_the_same_size_and_time_is_new_when_it_is_another_file(tmp_path):
    path = written(tmp_path, "validation: strict \n")
    before = path.stat()
    async with watching(path, load(path)) as seen:
        other = tmp_path / "other"
        other.write_text("validation: observe\n")
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        other.replace(path)
        assert await seen.next() == ["observe"]


async def test_a_file_that_is_written_in_pieces_is_read_when_it_rests(tmp_path):
    path = written(tmp_path, "")
    async with watching(path, load(path)) as seen:
        with path.open("w") as file:
            for piece in ("validation: strict\n", "gate: {patience: 1s,", " ping: ", "2s}\n"):
                file.write(piece)
                file.flush()
                await asyncio.sleep(TICK / 50)
        told = await seen.next()
        assert told[-1] == "strict" or await seen.next() == ["strict"]


async def test_a_file_that_is_gone_is_told_and_taken_up_when_it_is_back(tmp_path):
    path = written(tmp_path, "validation: strict\n")
    async with watching(path, load(path)) as seen:
        path.unlink()
        assert await seen.next() == ["config.yaml: is gone; the settings before it stay until there is one again"]
        await seen.quiet()
        path.write_text("validation: observe\n")
        assert await seen.next() == ["observe"]


async def test_an_editor_that_deletes_and_writes_anew_is_one_change(tmp_path):
    path = written(tmp_path, "validation: strict\n")
    async with watching(path, load(path)) as seen:
        path.unlink()
        path.write_text("validation: observe\n")
        assert await seen.next() == ["observe"]


async def test_a_mistake_is_told_once_and_its_correction_taken_over(tmp_path):
    path = written(tmp_path, "")
    async with watching(path, load(path)) as seen:
        replace(path, "server: {port: x}\n")
        assert await seen.next() == ["line 1, server.port: must be a whole number, not text"]
        await seen.quiet()
        replace(path, "validation: strict\n")
        assert await seen.next() == ["strict"]


async def test_the_same_mistake_saved_again_is_no_news_until_it_was_mended(tmp_path):
    path = written(tmp_path, "")
    wrong = "server: {port: x}\n"
    async with watching(path, load(path)) as seen:
        replace(path, wrong)
        told = await seen.next()
        replace(path, wrong + "# and a comment\n")
        await seen.quiet()
        replace(path, "validation: strict\n")
        assert await seen.next() == ["strict"]
        replace(path, wrong)
        assert await seen.next() == told


async def test_a_folder_in_the_files_place_is_told_and_survived(tmp_path):
    path = written(tmp_path, "")
    async with watching(path, load(path)) as seen:
        path.unlink()
        path.mkdir()
        assert await seen.next() == [f"{path}: cannot be read: is a directory"]
        path.rmdir()
        replace(path, "validation: strict\n")
        assert (await seen.next())[-1] == "strict"


async def test_a_new_key_in_its_file_is_taken_over(tmp_path):
    (tmp_path / "key").write_text("one")
    path = written(tmp_path, KEYED)
    async with watching(path, load(path)) as seen:
        (tmp_path / "key").write_text("second")
        assert await seen.next() == ["second"]
        (tmp_path / "key").unlink()
        assert await seen.next() == [None]
        (tmp_path / "key").write_text("third")
        assert await seen.next() == ["third"]


async def test_a_key_file_stays_watched_while_the_configuration_is_broken(tmp_path):
    (tmp_path / "key").write_text("one")
    path = written(tmp_path, KEYED)
    async with watching(path, load(path)) as seen:
        replace(path, "server: {port: x}\n")
        await seen.next()
        (tmp_path / "key").write_text("second")
        replace(path, KEYED)
        assert (await seen.next())[-1] == "second"


async def test_a_change_between_loading_and_watching_is_not_missed(tmp_path):
    path = written(tmp_path, "validation: strict\n")
    loaded = load(path)
    replace(path, "validation: observe\n")
    async with watching(path, loaded) as seen:
        assert await seen.next() == ["observe"]


async def test_without_what_is_in_force_the_file_counts_as_known(tmp_path):
    path = written(tmp_path, "validation: strict\n")
    async with watching(path) as seen:
        await seen.quiet()
        replace(path, "validation: observe\n")
        assert await seen.next() == ["observe"]


async def test_settings_that_cannot_be_applied_are_told_and_watching_goes_on(tmp_path):
    path = written(tmp_path, "")
    seen = Seen()

    def changed(loaded: Loaded) -> None:
        if loaded.settings.validation == "strict":
            raise LookupError
        seen.changed(loaded)

    task = asyncio.create_task(Watcher(path, changed, seen.refused, since=load(path), every=TICK).run())
    replace(path, "validation: strict\n")
    assert await seen.next() == ["config.yaml: cannot be used, because of a mistake in this program: LookupError"]
    replace(path, "validation: observe\n")
    assert await seen.next() == ["observe"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_loop_goes_on_while_a_large_file_is_read(tmp_path):
    path = written(tmp_path, "")
    async with watching(path, load(path)) as seen:
        replace(path, "validation: strict\n" + "# comment\n" * 40_000)
        rounds, started = 0, time.monotonic()
        while not seen.told and time.monotonic() - started < 20:
            await asyncio.sleep(0.001)
            rounds += 1
        assert seen.told == ["strict"]
        assert rounds > 10


def test_it_looks_twice_a_second():
    assert EVERY == 0.5


@contextlib.asynccontextmanager
async def editing(path: Path) -> AsyncIterator[tuple[Watcher, Seen]]:
    seen = Seen()
    watcher = Watcher(path, seen.changed, seen.refused, since=load(path), every=TICK)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher, seen
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def took(watcher: Watcher, seen: Seen, change: Callable[[], Loaded]) -> Loaded:
    """As the proxy does it when its API is asked for an edit."""
    loaded = await asyncio.to_thread(change)
    watcher.wrote(loaded)
    seen.changed(loaded)
    return loaded


async def test_an_edit_of_the_program_is_taken_over_once(tmp_path):
    path = written(tmp_path, "")
    async with editing(path) as (watcher, seen):
        loaded = await took(watcher, seen, lambda: Editor(path).write({"validation": "strict"}, why="x"))
        assert loaded.settings.validation == "strict"
        assert seen.told == ["strict"]
        seen.told.clear()
        await seen.quiet()


def pipe_of(path: Path) -> int:
    """A pipe of that name, from which nothing comes until it is closed."""
    if sys.platform == "win32":
        pytest.skip("there are no named pipes in folders")
    else:
        os.mkfifo(path)
        return os.open(path, os.O_RDWR)


async def test_what_was_read_before_an_edit_of_the_program_is_not_taken_over_after_it(tmp_path):
    path = written(tmp_path, "")
    async with editing(path) as (watcher, seen):
        pipe = pipe_of(tmp_path / "key")
        replace(path, KEYED)
        await asyncio.sleep(8 * TICK)  # by now it is being read, and whoever reads the key waits for its end
        (tmp_path / "key.new").write_text("of-before-the-edit")
        (tmp_path / "key.new").replace(tmp_path / "key")
        await took(watcher, seen, lambda: Editor(path).write({"validation": "strict"}, why="x"))
        os.close(pipe)
        await asyncio.sleep(8 * TICK)
        assert seen.told == ["strict"]


async def test_a_change_by_hand_right_after_an_edit_of_the_program_is_noticed(tmp_path):
    path = written(tmp_path, "")

    def both() -> Loaded:
        loaded = Editor(path).write({"validation": "strict"}, why="x")
        replace(path, "validation: observe\n")
        return loaded

    async with editing(path) as (watcher, seen):
        assert (await took(watcher, seen, both)).settings.validation == "strict"
        told = await seen.next()
        while len(told) < 2:
            told += await seen.next()
        assert told == ["strict", "observe"]


async def test_edits_by_hand_and_by_the_program_are_all_seen_under_way(tmp_path):
    path = written(tmp_path, "gate: {}\n")
    async with editing(path) as (watcher, seen):
        for number in range(1, 6):
            change = partial(Editor(path).change, partial(set_ping, number), why="x")
            assert (await took(watcher, seen, change)).settings.gate.ping == number
            replace(path, path.read_text() + f"# {number}\n")
        told: list[str | None] = []
        while len(told) < 6:
            told += await seen.next()
        loaded = load(path)
    assert loaded.settings.gate.ping == 5
    assert [line for line in path.read_text().splitlines() if line[0] == "#"] == [f"# {each}" for each in range(1, 6)]


def set_ping(seconds: int, data: dict[str, Any]) -> None:
    data["gate"]["ping"] = seconds
