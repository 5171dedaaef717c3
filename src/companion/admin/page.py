"""The page at /admin/: which endpoints there are, how they are, and what is wrong with the configuration.

Made anew for every visit, without a script; it holds names and states, never a credential.
"""

from collections.abc import Callable, Iterable
from html import escape
from typing import Final

from companion import __version__
from companion.clock import Clock
from companion.config.file import Loaded
from companion.errors import ClientError
from companion.net.h1 import Headers
from companion.upstream.views import CandidateView

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1c1e21; --quiet: #5c6370; --line: #e2e4e8; --ground: #fbfbfc; --card: #fff;
  --good: #1a7f4b; --bad: #b3261e; --wait: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e8eb; --quiet: #9aa1ac; --line: #2c3036; --ground: #131517;
  --card: #1a1d20; --good: #5cc98d; --bad: #f2857c; --wait: #e0b45c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text);
  font: 14px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; font-variant-numeric: tabular-nums; }
main { max-width: 860px; margin: 0 auto; padding: 40px 20px; }
h1 { font-size: 20px; margin: 0; } h2 { font-size: 14px; margin: 32px 0 8px; }
p { margin: 4px 0; color: var(--quiet); } code { font: 13px/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; border: 1px solid var(--line); border-radius: 8px;
  background: var(--card); }
li { display: flex; flex-wrap: wrap; gap: 2px 16px; align-items: baseline; padding: 10px 14px; }
li + li { border-top: 1px solid var(--line); }
li b { flex: 1 1 160px; font-weight: 600; } li code { flex: 2 1 240px; color: var(--quiet); }
li span { flex: 1 1 200px; } .good { color: var(--good); } .bad { color: var(--bad); } .wait { color: var(--wait); }
.quiet { color: var(--quiet); }
.note { border: 1px solid var(--line); border-left: 3px solid var(--bad); border-radius: 8px; background: var(--card);
  padding: 10px 14px; white-space: pre-wrap; overflow-wrap: anywhere; color: var(--text); }
pre { border: 1px solid var(--line); border-radius: 8px; background: var(--card); padding: 12px 14px; margin: 0;
  overflow-x: auto; font: 13px/1.6 ui-monospace, monospace; }
"""
_POLICY: Final = (
    b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_HEADERS: Final = (
    (b"content-type", b"text/html; charset=utf-8"),
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
)


class Page:
    """Answers everything that is not the data plane."""

    def __init__(
        self,
        views: Callable[[], Iterable[CandidateView]],
        loaded: Callable[[], Loaded],
        problems: Callable[[], tuple[str, ...]],
        clock: Clock,
    ) -> None:
        self._views = views
        self._loaded = loaded
        self._problems = problems
        self._clock = clock

    def __call__(self, method: str, path: str) -> tuple[int, Headers, bytes]:
        """Status, headers and body for a path that is not the data plane's. Raises ClientError (404)."""
        if path.rstrip("/") != "/admin" or method not in {"GET", "HEAD"}:
            raise ClientError(404, "not_found_error", f"{method} {path}: there is nothing here. See /admin/")
        if path == "/admin":
            return 308, [(b"location", b"/admin/")], b""
        return 200, list(_HEADERS), self._html().encode()

    def _html(self) -> str:
        loaded = self._loaded()
        return (
            '<!doctype html><html lang="en"><meta charset="utf-8"><title>Claude Code Companion</title>'
            f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}</style><main>'
            f"<h1>Claude Code Companion</h1><p>Version {__version__} is running.</p>"
            f"{self._wrong()}<h2>Endpoints</h2>{self._endpoints(loaded)}"
            f"<h2>Configuration</h2><p><code>{escape(str(loaded.path))}</code></p>"
            "<p>A change of this file is live within a second; a mistake in it is shown here and changes nothing.</p>"
            "</main></html>"
        )

    def _wrong(self) -> str:
        problems = self._problems()
        if not problems:
            return ""
        listed = escape("\n".join(problems))
        return f'<h2>The file has a mistake, so the settings before it stay</h2><p class="note">{listed}</p>'

    def _endpoints(self, loaded: Loaded) -> str:
        views = list(self._views())
        if not views:
            return (
                "<p>None yet, and requests get an error. Put this into the file below, with your own key:</p>"
                "<pre>endpoints:\n  - name: anthropic\n    url: https://api.anthropic.com\n"
                "    auth: {type: api_key, values: [&quot;${ANTHROPIC_API_KEY}&quot;]}</pre>"
            )
        urls = {endpoint.id: endpoint.shown_url for endpoint in loaded.settings.endpoints}
        rows = (self._row(view, urls.get(view.key.endpoint, "")) for view in views)
        return f"<ul>{''.join(rows)}</ul>"

    def _row(self, view: CandidateView, url: str) -> str:
        credential = f" · key {view.key.credential + 1}" if view.key.credential else ""
        tone, state = self._state(view)
        return (
            f"<li><b>{escape(view.name)}{credential}</b><code>{escape(url)}</code>"
            f'<span class="{tone}">{escape(state)}</span></li>'
        )

    def _state(self, view: CandidateView) -> tuple[str, str]:
        if view.unusable is not None:
            return "quiet" if view.unusable == "disabled" else "bad", view.unusable
        if view.ready:
            return "good", "ready" if view.reason is None else f"ready ({view.reason.text()})"
        left = "" if view.until is None else f", {max(0, round(view.until - self._clock.monotonic()))} s left"
        return "wait", f"{view.state if view.reason is None else view.reason.text()}{left}"
