from tests.cli.process import companion, endpoint, write_config

PASSTHROUGH = {"type": "passthrough"}


async def test_a_good_configuration_is_summed_up_in_the_order_of_trying(tmp_path):
    write_config(
        tmp_path,
        endpoint("second", "https://b.example/anthropic", priority=2, auth=PASSTHROUGH),
        endpoint("first", "https://a.example", priority=1, auth={"type": "api_key", "values": ["k1", "k2"]}),
        endpoint("third", "https://c.example", priority=3, enabled=False),
        server={"port": 8099},
    )
    ended = await companion("check", cwd=tmp_path)

    assert ended.code == 0
    assert ended.err == ""
    assert f"{tmp_path / 'config.yaml'} is fine." in ended.out
    assert [line.split(maxsplit=1) for line in ended.out.splitlines()[2:5]] == [
        ["Proxy", "http://127.0.0.1:8099"],
        ["Clients", "every program on this machine"],
        ["Records", "sqlite:///companion.db"],
    ]
    rows = [line.split() for line in ended.out.splitlines() if line.startswith("  ")]
    assert [row[:3] for row in rows] == [
        ["1", "first", "https://a.example"],
        ["2", "second", "https://b.example/anthropic"],
        ["off", "third", "https://c.example"],
    ]
    assert "api_key, 2 keys" in ended.out
    assert "k1" not in ended.out


async def test_every_mistake_is_shown_with_its_line(tmp_path):
    (tmp_path / "config.yaml").write_text("server:\n  port: many\ngate:\n  hold: nothing\nservers: {}\n")
    ended = await companion("check", cwd=tmp_path)

    assert ended.code == 2
    assert ended.out == ""
    for line, place in ((2, "server.port"), (4, "gate.hold"), (5, "servers")):
        assert f"line {line}, {place}" in ended.err


async def test_a_missing_secret_is_a_warning_because_the_rest_serves(tmp_path):
    auth = {"type": "api_key", "values": ["good", "${NO_SUCH_KEY}"]}
    write_config(tmp_path, endpoint("a", "https://a.example", auth=auth))
    ended = await companion("check", cwd=tmp_path)

    assert ended.code == 0
    assert ended.err.startswith("warning: endpoint a, auth.values[1] is not used: ")
    assert "NO_SUCH_KEY" in ended.err


async def test_secrets_of_an_endpoint_that_is_off_are_nobodys_business(tmp_path):
    auth = {"type": "api_key", "values": ["${NO_SUCH_KEY}"]}
    write_config(tmp_path, endpoint("a", "https://a.example", auth=auth, enabled=False))

    assert (await companion("check", cwd=tmp_path)).err == ""


async def test_no_endpoint_is_said(tmp_path):
    write_config(tmp_path)

    assert "There is no endpoint yet" in (await companion("check", cwd=tmp_path)).out


async def test_no_configuration_is_said_and_none_is_written(tmp_path):
    ended = await companion("check", cwd=tmp_path)

    assert ended.code == 2
    assert "There is no configuration at" in ended.err
    assert not list(tmp_path.rglob("config.yaml"))


async def test_a_home_that_nobody_has_is_one_sentence(tmp_path):
    ended = await companion("check", "--config", "~nobody-of-that-name/config.yaml", cwd=tmp_path)

    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1


async def test_clients_and_records_are_said(tmp_path):
    client = {"name": "ann", "token_hash": "sha256:" + "0" * 64}
    write_config(
        tmp_path, server={"host": "0.0.0.0", "port": 8099}, access={"clients": [client]}, records={"store": "none"}
    )
    ended = await companion("check", cwd=tmp_path)

    assert [line.split(maxsplit=1) for line in ended.out.splitlines()[2:5]] == [
        ["Proxy", "http://127.0.0.1:8099"],
        ["Clients", "ann"],
        ["Records", "none"],
    ]


async def test_an_address_that_others_reach_needs_clients_also_on_the_command_line(tmp_path):
    write_config(tmp_path)
    ended = await companion("serve", "--host", "0.0.0.0", cwd=tmp_path)

    assert ended.code == 2
    assert ended.err.startswith("--host: can be reached from other machines, and nothing says who may use it")
