"""Two people who change the same thing: ETags say what somebody has seen, If-Match what a change is a change of."""

import json
import secrets
from hashlib import blake2b
from typing import Annotated, Any, Final

from fastapi import Header

from companion.admin.problems import ApiError

# What is hashed holds secrets, and the hash is shown: without a key, short ones could be guessed from it.
_KEY: Final = secrets.token_bytes(32)

NEEDED: Final = "x-needed"
_ABOUT: Final = "The ETag of what this is a change of, or * for whatever it is now."

IfMatch = Annotated[str | None, Header(description=_ABOUT, json_schema_extra={NEEDED: True})]
IfMatchWanted = Annotated[str | None, Header(alias="if-match", description=f"{_ABOUT} May be left out.")]

TAGGED: Final[dict[str, Any]] = {"headers": {"ETag": {"description": "For If-Match.", "schema": {"type": "string"}}}}


def etag(data: object) -> str:
    """The ETag of something that JSON can say; another one after a restart."""
    text = json.dumps(data, sort_keys=True, default=str)
    return f'"{blake2b(text.encode(), key=_KEY, digest_size=12).hexdigest()}"'


def require(if_match: str | None, current: str) -> None:
    """Go on only if the client has seen what is there now. Raises ApiError: 428 if it does not say, 412 if not."""
    if if_match is None:
        said = "Send If-Match with the ETag of what you want to change, or * to change it whatever it is."
        raise ApiError(428, "if_match_needed", said)
    prefer(if_match, current)


def prefer(if_match: str | None, current: str) -> None:
    """The same for what needs no condition: a wrong one is refused all the same. Raises ApiError: 412."""
    if if_match is None or if_match.strip() == "*":
        return
    if current not in {each.strip() for each in if_match.split(",")}:
        raise ApiError(412, "changed_meanwhile", "It was changed meanwhile. Read it again and repeat your change.")
