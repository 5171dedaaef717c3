"""docs/reference/repairs.md, made from the table: `python -m companion.protocol.repairs.reference`."""

from typing import Final

from companion.protocol.repairs.record import MAX_RESENDS, STATUSES
from companion.protocol.repairs.table import REPAIRS

_INTRODUCTION: Final = """\
# Repairs

This page is made from the program by `python -m companion.protocol.repairs.reference`.

Many upstreams that speak the protocol of Anthropic refuse something of what Claude Code sends. Claude Code knows the
usual refusals by their words and heals its request itself; those pass on to it byte for byte. Where it would not, the
proxy repairs the request and sends it to the same upstream again, before the client hears of it.

| repair | what it does to the request | why |
| --- | --- | --- |"""

_RULES: Final = """
## When

- The upstream's answer has status {statuses}, or is an error that came with 200,
  and its words say what the repair is for. They were collected from real answers, in English and Chinese, also where
  one upstream wraps another's.
- One refusal leads to one repair. A request is sent again {resends} times at most, each time for another reason; then
  the upstream's answer goes to the client. Each time counts in `x-companion-attempts`, and none as a failure.
- Only the bytes that a repair is about change. Of `anthropic-beta` those values go that belong to a field that is taken
  out.
- Where the credential is the client's own (`passthrough`), answers go to it as they came, and nothing is sent again.

## What is learned

Once an upstream has taken a repaired request, that is remembered for this endpoint (its url and key) and this model:
the next request is repaired before it is sent, also after a restart, and is answered at once. The outcome of both is
`repaired` in the log. Not remembered is what holds for one request only, such as a `max_tokens` that has to fit into
what the prompt leaves of a window. Of `thinking_signature` only blocks of earlier turns are dropped before anything was
refused: those of the turn that goes on are the upstream's own, as a rule. An upstream that wants adaptive thinking back
gets it, and that it did not is forgotten.

At most 1,000 models are remembered; those go that were asked for longest ago.

## Always and never

`defaults.repairs` and `endpoints[].repairs` say otherwise: `always` repairs before anything was refused (`max_tokens`
then means at most {tokens}), `never` leaves the request as it is, whatever was learned.

```yaml
endpoints:
  - name: kimi
    url: https://api.moonshot.cn/anthropic
    auth: {{type: auth_token, values: ["${{KIMI_KEY}}"]}}
    repairs: {{always: [images], never: [thinking_signature]}}
```
"""


def reference() -> str:
    """The whole page."""
    rows = (f"| `{name}` | {repair.does} | {repair.because} |" for name, repair in REPAIRS.items())
    statuses = ", ".join(map(str, sorted(STATUSES)))
    tokens = f"{int(REPAIRS['max_tokens'].always):,}"
    rules = _RULES.format(statuses=statuses, resends=MAX_RESENDS, tokens=tokens)
    return "\n".join((_INTRODUCTION, *rows)) + "\n" + rules


if __name__ == "__main__":
    print(reference(), end="")
