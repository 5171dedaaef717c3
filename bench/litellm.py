"""LiteLLM beside us, the proxy in Python that most people know: in an environment of its own under build/.

Installing it takes some minutes and 750 MB and is done once. What it would fetch at its start is switched off, and
what it might fetch all the same goes to a port where nobody listens: this benchmark talks to 127.0.0.1 only.
"""

import shutil
import subprocess
import sys
from string import Template
from typing import Final

from bench.load import BUILD
from bench.machine import BenchError
from bench.peers import Peer, Place, Setting
from bench.traffic import MODEL

LITELLM: Final = "litellm"
ROWS: Final = ("paced", "small", "large", "first", "start", "memory")
VERSION: Final = "1.108.7"
_BEFORE: Final = "2026-11-22T00:00:00Z"
_PIP: Final = "pip==26.3"  # the first pips do not know --uploaded-prior-to
_FOLDER: Final = BUILD / "litellm"
_MARK: Final = _FOLDER / f"installed-{VERSION}"

_CONFIG: Final = Template("""\
model_list:
  - model_name: $model
    litellm_params: {model: anthropic/$model, api_base: "http://127.0.0.1:$upstream", api_key: k}
litellm_settings: {telemetry: false}
""")

_ENVIRONMENT: Final = {
    **{
        f"LITELLM_LOCAL_{what}": "True"
        for what in ("MODEL_COST_MAP", "ANTHROPIC_BETA_HEADERS", "POLICY_TEMPLATES", "AUTOROUTER_PRESETS", "BLOG_POSTS")
    },
    "LITELLM_LOG": "ERROR",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # as nginx and ours: everybody is let in
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1,localhost",
}


def install() -> None:
    """Once, with pip, as it was on that day. Raises BenchError."""
    if _MARK.exists():
        return
    print(f"installing {LITELLM} {VERSION} in {_FOLDER}: some minutes", file=sys.stderr, flush=True)
    shutil.rmtree(_FOLDER, ignore_errors=True)
    pip = [str(_FOLDER / "bin" / "pip"), "install", "-q"]
    for command in (
        [sys.executable, "-m", "venv", str(_FOLDER)],
        [*pip, _PIP],
        [*pip, "--uploaded-prior-to", _BEFORE, f"litellm[proxy]=={VERSION}"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}", code=2)
    _MARK.touch()


def litellm(place: Place, _setting: Setting) -> Peer:
    """As its documentation starts it, with one worker, without a database."""
    config = place.folder / "litellm.yaml"
    config.write_text(_CONFIG.substitute(model=MODEL, upstream=place.upstream(Setting())))
    program = str(_FOLDER / "bin" / "litellm")
    command = (program, "--config", str(config), "--host", "127.0.0.1", "--port", str(place.port))
    return Peer(LITELLM, command, place.port, f"{LITELLM} {VERSION}", exact=False, environment=_ENVIRONMENT)
