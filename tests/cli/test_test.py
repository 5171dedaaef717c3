from companion.simulator import Simulator
from companion.simulator.replies import status
from tests.cli.process import companion, endpoint, write_config

KEY = "sk-a-key-of-16-letters"


async def test_every_key_of_every_enabled_endpoint_is_tested_without_a_proxy(tmp_path):
    async with Simulator() as upstream:
        keys = {"type": "api_key", "values": [KEY, "${NOT_THERE}"]}
        write_config(
            tmp_path,
            endpoint("first", upstream.url, auth=keys),
            endpoint("off", upstream.url, enabled=False),
            endpoint("second", upstream.url),
        )
        ended = await companion("test", cwd=tmp_path)

    heads = [line for line in ended.out.splitlines() if line and not line.startswith(" ")]
    assert heads == [f"first, key {n} of 2: {upstream.url}" for n in (1, 2)] + [f"second: {upstream.url}"]
    assert ended.out.count("ok       tool_call") == 2
    assert "failed   auth" in ended.out
    assert "NOT_THERE is not set" in ended.out
    assert ended.code == 1
    assert KEY not in ended.out + ended.err


async def test_one_endpoint_that_works_is_exit_code_0(tmp_path):
    async with Simulator() as upstream:
        write_config(tmp_path, endpoint("first", upstream.url), endpoint("broken", "http://127.0.0.1:1"))
        ended = await companion("test", "first", "--model", "claude-opus-5-5", cwd=tmp_path)
        asked = [entry.model for entry in upstream.ledger if entry.path == "/v1/messages"]

    assert (ended.code, ended.err) == (0, "")
    assert asked == ["claude-opus-5-5", "claude-opus-5-5"]


async def test_one_that_fails_is_exit_code_1_and_the_step_says_why(tmp_path):
    async with Simulator() as upstream:
        upstream.always = status(529)
        write_config(tmp_path, endpoint("first", upstream.url, enabled=False))
        ended = await companion("test", "first", cwd=tmp_path)

    assert ended.code == 1
    assert "failed   first_byte" in ended.out
    assert "529" in ended.out


async def test_a_name_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    write_config(tmp_path, endpoint("first", "http://127.0.0.1:1"))
    ended = await companion("test", "frist", cwd=tmp_path)

    assert (ended.code, ended.out) == (2, "")
    assert "There is no endpoint frist" in ended.err
    assert "There are: first." in ended.err
