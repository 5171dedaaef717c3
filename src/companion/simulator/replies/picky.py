"""Upstreams that refuse a request in their own words as long as something is in it, and answer it without."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from companion.simulator.exchange import Exchange, Reply
from companion.simulator.messages import Refusal
from companion.simulator.replies.streams import answer

Request = Mapping[str, Any]


class _Dislike(NamedTuple):
    """What a request must not have, and what is said about it, mostly with 400."""

    found: Callable[[Request], bool]
    message: str
    status: int = 400


def _blocks(request: Request) -> list[Mapping[str, Any]]:
    """Every block of every message, those in results of tools too."""
    contents = [message.get("content") for message in request.get("messages", ())]
    blocks = [block for content in contents if isinstance(content, list) for block in content]
    inner = [block["content"] for block in blocks if isinstance(block.get("content"), list)]
    return [*blocks, *(block for content in inner for block in content)]


def _thinking(request: Request) -> Mapping[str, Any]:
    return request.get("thinking") or {}


_LIMIT: Final = 8192
_DISLIKES: Final[Mapping[str, _Dislike]] = {
    "system_role": _Dislike(
        lambda request: any(message["role"] == "system" for message in request.get("messages", ())),
        "role information is incorrect: system is not expected here",
    ),
    "context_management": _Dislike(
        lambda request: "context_management" in request, 'json: unknown field "context_management"'
    ),
    "effort": _Dislike(
        lambda request: "effort" in request.get("output_config", {}),
        "Reasoning effort 'high' is not supported by this model route. Supported values: 'medium'.",
    ),
    "adaptive_thinking": _Dislike(
        lambda request: _thinking(request).get("type") == "adaptive",
        "thinking: Input tag 'adaptive' found using 'type' does not match any of the expected tags: "
        "'disabled', 'enabled'",
    ),
    "thinking_signature": _Dislike(
        lambda request: any("thinking" in block["type"] for block in _blocks(request)), "Thought signature is not valid"
    ),
    "thinking_budget": _Dislike(
        lambda request: not 1024 <= _thinking(request).get("budget_tokens", 1024) < request.get("max_tokens", 10**6),
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
    ),
    "max_tokens": _Dislike(
        lambda request: request.get("max_tokens", 0) > _LIMIT, f"Range of max_tokens should be [1, {_LIMIT}]"
    ),
    "images": _Dislike(
        lambda request: any(block["type"] == "image" for block in _blocks(request)),
        "No endpoints found that support image input",
        404,
    ),
    "tool_properties": _Dislike(
        lambda request: any("properties" not in tool.get("input_schema", {}) for tool in request.get("tools", ())),
        "tools.0.input_schema.properties: Field required",
    ),
}


def refuses(what: str, *, message: str = "") -> Reply:
    """Refuses a request for as long as it has this, such as images or effort+images, in words that call for a repair.

    Raises ValueError for what nobody dislikes.
    """
    if unknown := set(what.split("+")) - set(_DISLIKES):
        raise ValueError(f"nobody refuses {', '.join(sorted(unknown))}; what is refused: {', '.join(_DISLIKES)}")
    dislikes = [_DISLIKES[name] for name in what.split("+")]
    good = answer()

    async def play(exchange: Exchange) -> None:
        request = exchange.received.json
        dislike = next((each for each in dislikes if each.found(request)), None)
        if dislike is None:
            await good.play(exchange)
        else:
            await exchange.refuse(Refusal(dislike.status, "invalid_request_error", message or dislike.message))

    return Reply(f"refuses:{what}", play)
