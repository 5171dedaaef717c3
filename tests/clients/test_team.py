"""Claude Code as the client of a team's proxy: with a token, with a key of its own beside it, over TLS."""

from collections.abc import Callable
from pathlib import Path

import pytest

from companion.clients.tokens import digest, new_token
from companion.simulator import Simulator
from tests.clients.claude import NEWER, Claude
from tests.proxy.test_tls import Authority
from tests.support.proxy import endpoint, running

ANN = new_token()
ACCESS = {"clients": [{"name": "ann", "token_hash": digest(ANN)}]}
OWN = {"type": "passthrough"}


@pytest.mark.parametrize(
    ("environment", "header", "value"),
    [
        ({"ANTHROPIC_AUTH_TOKEN": ANN, "ANTHROPIC_API_KEY": "sk-ant-own"}, "x-api-key", "sk-ant-own"),
        (
            {"ANTHROPIC_AUTH_TOKEN": "own-login", "ANTHROPIC_CUSTOM_HEADERS": f"x-api-key: {ANN}"},
            "authorization",
            "Bearer own-login",
        ),
    ],
    ids=["a key", "a login"],
)
async def test_its_own_credential_goes_on_and_the_token_stays(
    tmp_path: Path, claude: Callable[..., Claude], environment: dict[str, str], header: str, value: str
):
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url, auth=OWN), access=ACCESS) as proxy:
        ran = await claude(NEWER).run(proxy.url, "text", **environment)
        asked = [each for each in sim.ledger if each.target.startswith("/v1/messages")]
        assert ran.code == 0
        assert asked
        for each in asked:
            assert each.header(header) == value
            assert ANN not in repr(each.headers)


@pytest.mark.parametrize("mutual", [False, True], ids=["", "with a certificate of its own"])
async def test_it_comes_over_tls_once_it_knows_the_authority(
    tmp_path: Path, claude: Callable[..., Claude], mutual: bool
):
    authority = Authority(tmp_path)
    tls = {**authority.issue(), **({"client_ca": authority.pem} if mutual else {})}
    environment = {"ANTHROPIC_AUTH_TOKEN": ANN, "NODE_EXTRA_CA_CERTS": str(authority.pem)}
    if mutual:
        own = authority.issue("ann", "ann.example")
        environment |= {"CLAUDE_CODE_CLIENT_CERT": str(own["certificate"]), "CLAUDE_CODE_CLIENT_KEY": str(own["key"])}
    server = {"tls": {name: str(path) for name, path in tls.items()}}
    async with Simulator() as sim, running(tmp_path, endpoint("only", sim.url), server=server, access=ACCESS) as proxy:
        ran = await claude(NEWER).run(proxy.url.replace("127.0.0.1", "localhost"), "text", **environment)
        assert (ran.code, ran.retries) == (0, 0)
        assert sim.ledger
        assert ANN not in repr([each.headers for each in sim.ledger])
