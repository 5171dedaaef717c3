"""TLS in front of the upstream: an nginx on the load's core, with a certificate that was made for this run."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Final

import trustme

from bench.machine import LOAD_CORE, BenchError, end_group, on_core
from bench.peers import Place, Setting, nginx_program

_CONFIG: Final = Template("""\
daemon off;
worker_processes 1;
pid $folder/terminator.pid;
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
    upstream plain {
        server 127.0.0.1:$plain;
        keepalive 1024;
        keepalive_requests 1000000000;
    }
    server {
        listen 127.0.0.1:$port ssl backlog=1024;
        ssl_certificate $folder/upstream.pem;
        ssl_certificate_key $folder/upstream.pem;
        ssl_protocols TLSv1.3;
        keepalive_requests 1000000000;
        client_max_body_size 64m;
        client_body_buffer_size 1m;
        location / {
            proxy_pass http://plain;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }
    }
}
""")


def make_certificates(folder: Path, ca: Path) -> None:
    """A key and certificate for 127.0.0.1 (and localhost, which nginx wants) in `folder`, and its authority at `ca`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(ca))
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        str(folder / "upstream.pem")
    )


@contextmanager
def terminator(place: Place) -> Iterator[int]:
    """TLS on the port that rows with `tls` ask; what comes out goes to the plain upstream. Yields its process id."""
    user = "user root;" if place.folder.stat().st_uid == 0 else ""
    port, plain = place.upstream(Setting(tls=True)), place.upstream(Setting())
    folder = place.folder / "terminator"
    folder.mkdir(exist_ok=True)
    shutil.copy(place.folder / "upstream.pem", folder)
    (folder / "nginx.conf").write_text(_CONFIG.substitute(folder=folder, user=user, port=port, plain=plain))
    command = (nginx_program(), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr")
    with (folder / "log").open("wb") as log, on_core(LOAD_CORE):
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    try:
        time.sleep(0.3)
        if process.poll() is not None:
            raise BenchError(f"nginx with TLS does not start: {(folder / 'log').read_text()[-500:]}")
        yield process.pid
    finally:
        end_group(process.pid, kill=True)
        process.wait()
