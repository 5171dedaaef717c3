"""The proxies that are compared: how each is configured and started, and that nothing of it is left behind."""

import http.client
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

from bench.machine import PROXY_CORE, BenchError, end_group, first_line_of, on_core, refuse_busy_port
from bench.traffic import request

NGINX: Final = "nginx"
OURS: Final = "companion"

_NGINX_CONFIG: Final = Template("""\
daemon off;
worker_processes 1;
pid $folder/nginx.pid;
error_log stderr warn;
$user
events { worker_connections 8192; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    upstream answers {
        server 127.0.0.1:$upstream;
        keepalive 1024;
        keepalive_requests 1000000000;
        keepalive_time 1d;
    }
    server {
        listen 127.0.0.1:$port backlog=1024;
        keepalive_requests 1000000000;
        client_max_body_size 64m;
        client_body_buffer_size 1m;
        location / {
            proxy_pass $scheme://answers;
            proxy_ssl_trusted_certificate $ca;
            proxy_ssl_protocols TLSv1.3;
            proxy_ssl_verify on;
            proxy_ssl_name localhost;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }
    }
}
""")

_OUR_CONFIG: Final = Template("""\
server: {port: $port}
defaults: {ca: $ca}
records: $records
endpoints:
  - name: bench
    type: anthropic
    url: $scheme://127.0.0.1:$upstream
    auth: {type: api_key, values: [k]}
    pool: {max_connections: 2000}
""")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a row wants of every proxy: whether the upstream speaks TLS, and whether what passes is recorded.

    With `archive` it is recorded there, where there may be much already.
    """

    tls: bool = False
    recorded: bool = False
    archive: Path | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a benchmark takes place: its folder, the ports, and who signed the upstream's certificate."""

    folder: Path
    port: int
    ca: Path

    def upstream(self, setting: Setting) -> int:
        return self.port + (2 if setting.tls else 1)


@dataclass(frozen=True, slots=True)
class Peer:
    """A proxy that can be started. `exact`: every answer must come through it byte for byte."""

    name: str
    command: tuple[str, ...]
    port: int
    version: str
    exact: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)


Make = Callable[[Setting], Peer]


def nginx(place: Place, setting: Setting) -> Peer:
    """As nginx copies best: one worker, upstream keep-alive, nothing buffered, nothing logged."""
    user = "user root;" if place.folder.stat().st_uid == 0 else ""
    config = place.folder / "nginx.conf"
    config.write_text(_NGINX_CONFIG.substitute(_filled(place, setting), user=user))
    program = nginx_program()
    command = (program, "-p", str(place.folder), "-c", str(config), "-e", "stderr")
    return Peer(NGINX, command, place.port, first_line_of(program, "-v"))


def nginx_program() -> str:
    """Where nginx is. Raises BenchError."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise BenchError("nginx is the measure (`apt-get install nginx-light`); --alone goes without ratios", code=2)
    return program


def companion(place: Place, setting: Setting) -> Peer:
    """Ours as users run it, with one endpoint and every default but for the recording, which a row asks for."""
    program = str(Path(sys.executable).with_name("companion"))
    config = place.folder / "companion.yaml"
    for left in place.folder.glob("companion.db*"):
        left.unlink()
    config.write_text(_OUR_CONFIG.substitute(_filled(place, setting), records=_records(setting)))
    config.chmod(0o600)
    return Peer(OURS, (program, "serve", "--config", str(config)), place.port, first_line_of(program, "version"))


def _records(setting: Setting) -> str:
    if setting.archive is not None:
        return f"{{store: 'sqlite:///{setting.archive}', keep: 3650d, max_size: 1000GiB}}"
    return "{store: 'sqlite:///companion.db'}" if setting.recorded else "{store: none}"


def _filled(place: Place, setting: Setting) -> dict[str, object]:
    scheme = "https" if setting.tls else "http"
    upstream = place.upstream(setting)
    return {"folder": place.folder, "port": place.port, "ca": place.ca, "scheme": scheme, "upstream": upstream}


def other(word: str, place: Place, setting: Setting) -> Peer:
    """`name=command`, whose `{port}` and `{upstream}` are filled in. Its answers need not be the same bytes."""
    port, upstream = place.port, place.upstream(setting)
    name, separator, command = word.partition("=")
    if not (name and separator and command):
        raise BenchError(f"--proxy takes name=command, not {word!r}", code=2)
    filled = command.replace("{port}", str(port)).replace("{upstream}", str(upstream))
    return Peer(name, tuple(shlex.split(filled)), port, command, exact=False)


@contextmanager
def running(peer: Peer, folder: Path) -> Iterator[tuple[int, float]]:
    """The peer on its core: its process id, and the seconds from its start to its first answer."""
    refuse_busy_port(peer.port)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COMPANION_")}
    with (folder / f"{peer.name}.log").open("wb") as log:
        started = time.perf_counter()
        with on_core(PROXY_CORE):
            process = subprocess.Popen(
                peer.command,
                cwd=folder,
                env={**environment, **peer.environment},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            _until_it_answers(peer, process, folder)
            yield process.pid, time.perf_counter() - started
        finally:
            _end(process)
    refuse_busy_port(peer.port)


def _until_it_answers(peer: Peer, process: subprocess.Popen[bytes], folder: Path) -> None:
    head, _, body = request(2048, stream=False, tokens=420).partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    deadline = time.monotonic() + 120
    said = "nothing"
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", peer.port, timeout=10)
        try:
            connection.request("POST", "/v1/messages?beta=true", body, fields)
            answer = connection.getresponse()
            said = f"{answer.status} {answer.read(300)!r}"
            if answer.status == 200:
                return
        except OSError as error:
            said = str(error)
        finally:
            connection.close()
        time.sleep(0.002)
    log = (folder / f"{peer.name}.log").read_text(errors="replace")[-1000:]
    raise BenchError(f"{peer.name} does not answer ({said}); it wrote: {log}")


def _end(process: subprocess.Popen[bytes]) -> None:
    end_group(process.pid, kill=False)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=10)
    end_group(process.pid, kill=True)
    process.wait()
