"""The kinds of values that keys have: how each is read and checked, and what to do instead when it is wrong.

A check raises ValueError with a sentence; place and line are added by whoever knows them.
"""

import math
import re
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from companion.config import words

_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?\.?)+")
_SCHEMES: Final = ("http", "https")
_URL_LIKE: Final = "such as https://api.anthropic.com"
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


def is_host(name: str) -> bool:
    """Whether it is a host name or a literal address, without port."""
    return _HOST.fullmatch(name) is not None or _is_address(name)


def is_loopback(host: str) -> bool:
    """Whether it is this machine itself: 127.0.0.0/8, ::1 or localhost."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def loopback(host: str) -> str:
    """An address to listen on."""
    host = host.lower().removeprefix("[").removesuffix("]")
    if not is_loopback(host):
        raise ValueError(
            "must be an address of this machine only (127.0.0.1, ::1 or localhost), "
            "because this version cannot tell who may use it from elsewhere"
        )
    return host


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
Port = Annotated[int, Field(strict=True, ge=0, le=65535), _unit("whole number")]
Weight = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False), _unit("number")]
Switch = Annotated[bool, _unit("true or false")]
Validation = Literal["strict", "repair", "observe"]

_Text = Annotated[str, Field(min_length=1)]

Text = Annotated[_Text, AfterValidator(one_line), _unit("text")]
Name = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(one_line), _unit("text")]
Url = Annotated[_Text, AfterValidator(upstream_url), _unit("URL")]
LoopbackHost = Annotated[_Text, AfterValidator(loopback), _unit("address")]
TrustedHost = Annotated[_Text, AfterValidator(trusted_host), _unit("text")]
HeaderName = Annotated[str, AfterValidator(header_name), _unit("text")]
HeaderValue = Annotated[str, AfterValidator(one_line)]
JsonValue = Annotated[Any, AfterValidator(json_value)]
FilePath = Annotated[Path, AfterValidator(located), _unit("path")]
PemPath = Annotated[FilePath, AfterValidator(pem)]
