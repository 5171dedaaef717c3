"""companion client: tokens are made, listed and taken away, and a running proxy follows."""

import asyncio
import hashlib
import re
import socket
from pathlib import Path

from companion.config.file import load
from tests.cli.process import companion, endpoint, serving, write_config
from tests.proxy.test_tls import Authority
from tests.support.http import ask

KIMI = endpoint("kimi", "http://127.0.0.1:1")


def token_in(text: str) -> str:
    (token,) = set(re.findall(r"ccc_[\w-]{43}", text))
    return str(token)


def found(folder: Path) -> list[Path]:
    return list(folder.rglob("config.yaml"))


async def test_a_new_client_gets_its_token_once_and_the_file_its_digest(tmp_path: Path):
    path = write_config(tmp_path, KIMI, server={"port": 8099})
    added = await companion("client", "add", "ann", cwd=tmp_path, SHELL="/bin/sh")

    token = token_in(added.out)
    assert added.code == 0
    assert "export ANTHROPIC_BASE_URL=http://127.0.0.1:8099" in added.out
    assert f"export ANTHROPIC_AUTH_TOKEN={token}" in added.out
    assert "every request needs a token" in added.err
    assert token not in path.read_text()
    (client,) = load(path).settings.access.clients
    assert (client.name, client.token_hash) == ("ann", "sha256:" + hashlib.sha256(token.encode()).hexdigest())

    second = await companion("client", "add", "bob", cwd=tmp_path)
    assert token_in(second.out) != token
    assert "every request needs a token" not in second.err

    listed = await companion("client", "list", cwd=tmp_path)
    assert [row.split()[0] for row in listed.out.splitlines()] == ["ann", "bob"]
    assert client.token_hash not in listed.out


async def test_the_address_for_another_machine_is_the_name_that_it_is_known_by(tmp_path: Path):
    clients = [{"name": "ann", "token_hash": f"sha256:{'0' * 64}"}]
    server = {"host": "0.0.0.0", "port": 8099}
    write_config(tmp_path, server=server, access={"clients": clients})
    assert "http://ADDRESS:8099" in (await companion("client", "add", "bob", cwd=tmp_path)).out

    write_config(tmp_path, server={**server, "trusted_hosts": ["gateway.lan"]}, access={"clients": clients})
    added = await companion("client", "add", "bob", cwd=tmp_path)
    assert "http://gateway.lan:8099" in added.out
    assert "this machine only" not in added.err


async def test_a_name_is_given_once_and_only_what_is_there_can_be_removed(tmp_path: Path):
    path = write_config(tmp_path, KIMI)
    await companion("client", "add", "ann", cwd=tmp_path)
    before = path.read_bytes()

    again = await companion("client", "add", "ann", cwd=tmp_path)
    assert (again.code, again.out) == (2, "")
    assert "companion client remove ann" in again.err
    nobody = await companion("client", "remove", "bob", cwd=tmp_path)
    assert (nobody.code, nobody.out) == (2, "")
    assert "There is: ann." in nobody.err
    assert path.read_bytes() == before

    removed = await companion("client", "remove", "ann", cwd=tmp_path)
    assert removed.code == 0
    assert not load(path).settings.access.clients
    assert "There are no clients" in (await companion("client", "list", cwd=tmp_path)).err


async def test_the_last_client_of_an_open_proxy_cannot_be_removed(tmp_path: Path):
    clients = [{"name": "ann", "token_hash": f"sha256:{'0' * 64}"}]
    path = write_config(tmp_path, server={"host": "0.0.0.0"}, access={"clients": clients})
    refused = await companion("client", "remove", "ann", cwd=tmp_path)

    assert (refused.code, refused.out) == (2, "")
    assert "server.host" in refused.err
    assert load(path).settings.access.clients


async def test_without_a_configuration_the_first_client_begins_one(tmp_path: Path):
    added = await companion("client", "add", "ann", cwd=tmp_path)

    assert added.code == 0
    (path,) = found(tmp_path)
    assert load(path).settings.access.clients[0].name == "ann"
    assert "# " in path.read_text()


async def test_a_configuration_that_cannot_be_used_is_not_touched(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text("server: {port: many}\n")
    refused = await companion("client", "add", "ann", cwd=tmp_path)

    assert (refused.code, refused.out) == (2, "")
    assert "port" in refused.err
    assert path.read_text() == "server: {port: many}\n"


async def test_a_running_proxy_knows_new_clients_and_forgets_old_ones(tmp_path: Path):
    write_config(tmp_path, KIMI)
    async with serving(tmp_path) as proxy:

        async def status(token: str = "none") -> int:
            return (await ask(proxy.url, "/v1/models", headers={"X-Api-Key": token})).status

        assert await status() != 401
        token = token_in((await companion("client", "add", "ann", cwd=tmp_path)).out)
        await proxy.logged("config_changed")
        assert await status() == 401
        assert await status(token) != 401

        other = token_in((await companion("client", "add", "bob", cwd=tmp_path)).out)
        await companion("client", "remove", "ann", cwd=tmp_path)
        await proxy.logged("config_changed")
        async with asyncio.timeout(20):
            while await status(token) != 401:  # noqa: ASYNC110 - the proxy looks at its file now and then
                await asyncio.sleep(0.05)
        assert await status(other) != 401


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def test_a_proxy_for_others_says_how_they_reach_it_and_that_admin_is_for_this_machine(tmp_path: Path):
    clients = [{"name": "ann", "token_hash": f"sha256:{'0' * 64}"}]
    write_config(tmp_path, KIMI, server={"host": "0.0.0.0", "trusted_hosts": ["box.lan"]}, access={"clients": clients})
    async with serving(tmp_path) as proxy:
        rows = dict(re.findall(r"^(Proxy|Admin|For others) +(.+)$", proxy.greeting, re.MULTILINE))
        assert rows["Proxy"].startswith("http://127.0.0.1:")
        assert rows["Admin"].startswith("http://127.0.0.1:")
        assert rows["For others"].startswith("http://box.lan:")
        assert (await ask(proxy.url, "/admin/")).status == 200


async def test_a_proxy_with_tls_is_found_by_run(tmp_path: Path):
    authority = Authority(tmp_path)
    made = {name: str(path) for name, path in authority.issue().items()}
    write_config(tmp_path, KIMI, server={"port": free_port(), "tls": made})
    async with serving(tmp_path) as proxy:
        ran = await companion("run", "--", "printenv", "ANTHROPIC_BASE_URL", cwd=tmp_path)
        assert ran.out.strip() == proxy.url
        assert proxy.url.startswith("https://127.0.0.1:")


async def test_run_tells_who_has_no_token_where_to_get_one(tmp_path: Path):
    clients = [{"name": "ann", "token_hash": f"sha256:{'0' * 64}"}]
    write_config(tmp_path, KIMI, access={"clients": clients})
    without = await companion("run", "--", "printenv", "ANTHROPIC_BASE_URL", cwd=tmp_path)
    assert "companion client add NAME" in without.err
    having = await companion(
        "run", "--", "printenv", "ANTHROPIC_AUTH_TOKEN", cwd=tmp_path, ANTHROPIC_AUTH_TOKEN="ccc_x"
    )
    assert (having.out.strip(), having.err) == ("ccc_x", "")
