"""`companion demo`: an answer, a failover and a recovery within a minute, without a key.

Two simulated upstreams, the whole proxy between them and a scripted client, in one process and on loopback only. The
client asks over HTTP like any other; what is told about the proxy is its own news.
"""

import asyncio
import http.client
import json
import tempfile
import time
from pathlib import Path
from typing import Final

import typer

from companion.app import App
from companion.cli.client import line, variables
from companion.cli.serve import cannot_listen
from companion.cli.settings import refuse
from companion.config.file import load, write
from companion.events import CircuitChanged, ExchangeSettled, Switched
from companion.net.posix import new_event_loop, on_stopping
from companion.observe import log
from companion.simulator import Simulator
from companion.simulator.replies import status

QUESTIONS: Final = 3
PACE: Final = 0.05
RECOVERY: Final = 40.0  # seconds; probing begins after health.open

_CONFIG: Final = """\
server: {{port: {port}}}
health: {{failures: {questions}, open: 3s, probe: {{interval: 1s}}}}
endpoints:
  - {{name: first, priority: 1, url: "{first}", auth: {{type: api_key, values: [demo-key-one]}}}}
  - {{name: second, priority: 2, url: "{second}", auth: {{type: api_key, values: [demo-key-two]}}}}
"""


def run_demo(port: int, *, once: bool) -> int:
    """Play the story; then, unless `once`, the proxy stays for as long as the user likes. Returns the exit code."""
    log.silence()
    with (
        tempfile.TemporaryDirectory(prefix="companion-demo-") as folder,
        asyncio.Runner(loop_factory=new_event_loop) as runner,
    ):
        return runner.run(_demo(Path(folder), port, once=once))


async def _demo(folder: Path, port: int, *, once: bool) -> int:
    stop = asyncio.Event()
    on_stopping(asyncio.get_running_loop(), lambda _: stop.set())
    async with Simulator(pace=PACE) as first, Simulator(pace=PACE) as second:
        path = folder / "config.yaml"
        write(path, _CONFIG.format(port=port, questions=QUESTIONS, first=first.url, second=second.url))
        app = App(await asyncio.to_thread(load, path))
        try:
            await app.start()
        except OSError as error:
            refuse(cannot_listen(error, app.loaded.settings.server, "--port"))
        serving = asyncio.create_task(app.run_until(stop))
        playing = asyncio.create_task(_story(app, first))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({playing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if playing.done() and not once:
            _say_how_to_go_on(app.addresses[0])
            await stopping
        stop.set()
        playing.cancel()
        await serving
    return 0 if playing.cancelled() or playing.result() else 1


async def _story(app: App, first: Simulator) -> bool:
    """Whether the endpoint that broke came back."""
    url, back = app.addresses[0], asyncio.Event()
    narrate(app, back)
    _title(f"Claude Code Companion runs at {url}, with two simulated upstreams: first and second.")
    _title("1. A client asks. The endpoint with priority 1 answers.")
    await ask(url, "Hello?")
    _title("2. Now first breaks: it answers every request with 529 overloaded. The client goes on asking.")
    first.always = status(529)
    for number in range(1, QUESTIONS + 1):
        await ask(url, f"Question {number}?")
    _title("   The client noticed nothing. After three faults in a row first is left alone.")
    _title("3. first is mended. Nobody asks it, and it comes back all the same: the proxy looks after it by itself.")
    first.always = None
    try:
        await asyncio.wait_for(back.wait(), RECOVERY)
    except TimeoutError:
        _title(f"first did not come back within {RECOVERY:g} s.")
        return False
    _title("4. The client asks again.")
    await ask(url, "Are you back?")
    return True


def narrate(app: App, back: asyncio.Event) -> None:
    """Tell the proxy's news as they happen; `back` is set when a circuit has closed."""

    def switched(news: Switched) -> None:
        _tell("failover", f"{news.from_endpoint} failed ({news.fault.message}); {news.to_endpoint} is asked", "yellow")

    def changed(news: CircuitChanged) -> None:
        _tell("circuit", f"{news.endpoint}: {news.before} -> {news.after} ({news.reason})", "magenta")
        if news.after == "closed":
            back.set()

    def settled(news: ExchangeSettled) -> None:
        tries = "1 try" if news.attempts == 1 else f"{news.attempts} tries"
        _tell("settled", f"{news.outcome}: {news.endpoint}, {tries}, {(news.at - news.started) * 1000:.0f} ms", "green")

    app.events.subscribe(Switched, switched)
    app.events.subscribe(CircuitChanged, changed)
    app.events.subscribe(ExchangeSettled, settled)


async def ask(url: str, question: str) -> None:
    """One streamed question, as any Anthropic client asks it."""
    _tell("client", f"asks: {question}", "cyan")
    text, first, by = await asyncio.to_thread(_stream, url, question)
    _tell("client", f"reads: {text}   (first text after {first * 1000:.0f} ms, from {by})", "cyan")


def _stream(url: str, question: str) -> tuple[str, float, str]:
    """The text, the seconds to its first piece, and who gave it."""
    host = url.removeprefix("http://")
    body = {
        "model": "claude-demo",
        "max_tokens": 100,
        "stream": True,
        "messages": [{"role": "user", "content": question}],
    }
    headers = {"content-type": "application/json", "anthropic-version": "2023-06-01", "authorization": "Bearer demo"}
    client = http.client.HTTPConnection(host, timeout=60)
    began, first, text = time.monotonic(), 0.0, ""
    try:
        client.request("POST", "/v1/messages", json.dumps(body), headers)
        answer = client.getresponse()
        for raw in answer:
            if raw.startswith(b"data:") and b"text_delta" in raw:
                first = first or time.monotonic() - began
                text += json.loads(raw[5:])["delta"]["text"]
        return text, first, answer.headers.get("x-companion-endpoint", "nobody")
    finally:
        client.close()


def _say_how_to_go_on(url: str) -> None:
    _title(f"The proxy goes on until Ctrl-C. Look at {url}/admin/, or try Claude Code with it in another terminal:")
    for name, value in variables(url, own_credential=False).items():
        typer.echo(f"  {line(name, value, 'sh')}")


def _title(text: str) -> None:
    typer.echo()
    typer.secho(text, bold=True)


def _tell(who: str, what: str, colour: str) -> None:
    typer.echo(f"  {typer.style(f'{who:<9}', fg=colour)} {what}")
