"""The kinds of values that keys have: how each is read and checked, and what to do instead when it is wrong.

A check raises ValueError with a sentence; place and line are added by whoever knows them.
"""

import difflib
import math
import re
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from companion.config import proxies, words
from companion.config.hosts import is_host
from companion.protocol.repairs import NAMES

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_SCHEMES: Final = ("http", "https")
_URL_LIKE: Final = "such as https://api.anthropic.com"
_TOKEN_HASH: Final = re.compile(r"sha256:[0-9a-f]{64}")
_SQLITE: Final = "sqlite:///"
_WHOLE: Final = (-(2**63), 2**64 - 1)

# What frames a message, and what the proxy itself decides for every request.
_OURS: Final = frozenset({"host", "content-length", "accept-encoding", "expect"})


def _optional(value: object, *, word: str) -> object:
    return None if isinstance(value, str) and value.strip().lower() == word else words.duration(value)


def one_line(text: str) -> str:
    """Text that can stand in a header, a log or a page."""
    if not text.isprintable():
        raise ValueError("must not hold line breaks or other control characters")
    return text


def upstream_url(text: str) -> str:
    """A base URL that requests can be sent to. The text is in no message: a URL may hold a secret."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("must be plain ASCII without spaces; write anything else percent-encoded, host names as xn--…")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"is not a URL {_URL_LIKE}") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"must begin with https:// or http://, {_URL_LIKE}")
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold a user or password; put the key under auth.values")
    if not host or not is_host(host) or port == 0:
        raise ValueError(f"has no host, or none that can be asked; write a URL {_URL_LIKE}")
    if "#" in text:
        raise ValueError("must not hold a #: what follows it would never be sent")
    return text


def listen_host(host: str) -> str:
    """An address or a name to listen on. Whether that is allowed depends on `access`, and is judged there."""
    host = host.lower().removeprefix("[").removesuffix("]")
    if not is_host(host):
        raise ValueError(f"{words.shown(host)} is not an address or a host name; leave out http:// and the port")
    return host


def token_hash(text: str) -> str:
    """What recognises a client's token. The text is in no message."""
    if not _TOKEN_HASH.fullmatch(text.lower()):
        raise ValueError("must be sha256: and 64 hexadecimal digits, as `companion client add NAME` writes it")
    return text.lower()


def store_url(text: object) -> object:
    """Where records are kept: a database file, or nowhere (None). A server's URL may hold a password: not repeated."""
    if not isinstance(text, str):
        return text
    text = text.strip()
    if text.lower() == "none":
        return None
    if not text.startswith(_SQLITE) or not text.removeprefix(_SQLITE).strip("/"):
        raise ValueError(f"must be none, or {_SQLITE} and the path of a file, such as {_SQLITE}companion.db")
    return text


def repair(name: str) -> str:
    """The name of a repair that there is."""
    if name not in NAMES:
        near = difflib.get_close_matches(name.lower(), NAMES, n=1)
        raise ValueError(f'is no repair; did you mean "{near[0]}"?' if near else f"must be one of {', '.join(NAMES)}")
    return name


def expression(text: str) -> str:
    """A regular expression for what is to be taken out of records."""
    try:
        pattern = re.compile(text)
    except (re.error, OverflowError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if pattern.match(""):
        raise ValueError("fits an empty text, and so would take out everything; let it need at least one character")
    return text


def trusted_host(name: str) -> str:
    """A name that requests may have in their Host header."""
    bare = name.lower().removeprefix("[").removesuffix("]").removesuffix(".")
    if not is_host(bare):
        raise ValueError(f"{words.shown(name)} is not a host name; leave out http://, the port and wildcards")
    return bare


def header_name(name: str) -> str:
    """A header that may be set or removed."""
    from companion.net.h1 import HOP_BY_HOP  # noqa: PLC0415 - brings the HTTP parser, which `companion env` does without

    if not _TOKEN.fullmatch(name):
        raise ValueError("is not a header name; it has letters, digits and - only, without a colon")
    if name.lower() in _OURS or name.lower().encode() in HOP_BY_HOP:
        raise ValueError("belongs to the proxy, which sets it as each message needs it; leave it out")
    return name


def json_value(value: Any) -> Any:
    """Something that JSON can say and every JSON reader can read."""
    if isinstance(value, list):
        return [json_value(each) for each in value]
    if isinstance(value, dict):
        return {json_value(name): json_value(each) for name, each in value.items()}
    if isinstance(value, str) and not _is_unicode(value):
        raise ValueError("holds half a character (a lone surrogate), which UTF-8 cannot hold")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"holds {value}, which JSON does not have")
    if isinstance(value, int) and not _WHOLE[0] <= value <= _WHOLE[1]:
        raise ValueError("holds a number that is too large")
    return value


def _is_unicode(text: str) -> bool:
    return not any("\ud800" <= each <= "\udfff" for each in text)


def located(path: Path, info: ValidationInfo) -> Path:
    """Relative paths start at the folder of the file that they are written in (validation context `folder`)."""
    if "\0" in str(path):
        raise ValueError("must not hold a zero character")
    try:
        path = path.expanduser()
    except RuntimeError:
        raise ValueError(f"{path} is in the home of a user who is not there") from None
    return Path((info.context or {}).get("folder", ""), path)


def pem(path: Path) -> Path:
    """A file of certificates that OpenSSL can read."""
    import ssl  # noqa: PLC0415 - slow to import, and only those who set it need it

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=path)
    except ssl.SSLError:
        raise ValueError(f"{path} holds no certificates in PEM format") from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
    return path


def _unit(name: str) -> Any:
    return Field(json_schema_extra={"unit": name})


_Positive = Annotated[float, Field(gt=0)]

Duration = Annotated[_Positive, BeforeValidator(words.duration), _unit("duration")]
DurationOrZero = Annotated[float, Field(ge=0), BeforeValidator(words.duration), _unit("duration")]
DurationOrNone = Annotated[
    _Positive | None, BeforeValidator(partial(_optional, word="none")), _unit("duration or none")
]
DurationOrAuto = Annotated[
    _Positive | None, BeforeValidator(partial(_optional, word="auto")), _unit("duration or auto")
]
Size = Annotated[int, Field(gt=0), BeforeValidator(words.size), _unit("size")]
Rate = Annotated[float, Field(ge=0), BeforeValidator(words.rate), _unit("rate")]
Whole = Annotated[int, Field(strict=True), _unit("whole number")]
Count = Annotated[int, Field(strict=True, ge=1), _unit("whole number")]
CountOrZero = Annotated[int, Field(strict=True, ge=0), _unit("whole number")]
Port = Annotated[int, Field(strict=True, ge=0, le=65535), _unit("whole number")]
Weight = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False), _unit("number")]
Switch = Annotated[bool, _unit("true or false")]
Validation = Literal["strict", "repair", "observe"]

_Text = Annotated[str, Field(min_length=1)]

Text = Annotated[_Text, AfterValidator(one_line), _unit("text")]
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(one_line), _unit("text")]
Url = Annotated[_Text, AfterValidator(upstream_url), _unit("URL")]
ListenHost = Annotated[_Text, AfterValidator(listen_host), _unit("address")]
Proxy = Annotated[_Text, AfterValidator(proxies.checked), _unit("env, none or URL")]
StoreUrl = Annotated[_Text | None, BeforeValidator(store_url), _unit("URL or none")]
TokenHash = Annotated[_Text, AfterValidator(token_hash), _unit("text")]
Repair = Annotated[_Text, AfterValidator(repair), _unit("repair")]
Expression = Annotated[_Text, AfterValidator(one_line), AfterValidator(expression), _unit("regular expression")]
TrustedHost = Annotated[_Text, AfterValidator(trusted_host), _unit("text")]
HeaderName = Annotated[str, AfterValidator(header_name), _unit("text")]
HeaderValue = Annotated[str, AfterValidator(one_line)]
JsonValue = Annotated[Any, AfterValidator(json_value)]
FilePath = Annotated[Path, AfterValidator(located), _unit("path")]
PemPath = Annotated[FilePath, AfterValidator(pem)]
