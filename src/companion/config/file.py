"""The file: found, read, judged as a whole, and written once, when there is none yet."""

import errno
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import ValidationError

from companion.config import problems, proxies, secrets
from companion.config.models import EndpointSettings, HeaderEdits, Settings
from companion.config.secrets import NOT_NEEDED, Credential
from companion.config.source import sections, source_of
from companion.config.stamps import Stamp, stamp, stamps
from companion.errors import ConfigError, Problem

NAME: Final = "config.yaml"
VARIABLE: Final = "COMPANION_CONFIG"
FOLDER: Final = "claude-code-companion"
MAX_FILE: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used: the settings, and the credentials of each endpoint by its id.

    An endpoint has at least one; where its type needs none, that one is empty and without a problem. `proxies` has by
    the endpoint's id the value `env`, `none` or a URL with the secrets in it. `seen` are the files that all this came
    from, certificates included, as they were just before they were read. `secrets` are all that must be seen nowhere.
    """

    path: Path
    settings: Settings
    credentials: Mapping[str, tuple[Credential, ...]]
    proxies: Mapping[str, Credential] = field(default_factory=dict)
    seen: Mapping[Path, Stamp | None] = field(default_factory=dict, repr=False, compare=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def find(explicit: str | None = None) -> Path:
    """The one file: as told, else $COMPANION_CONFIG, ./config.yaml, the user's; else ./config.yaml, to be made.

    What is named is taken, there or not: never another one instead. Raises ConfigError if that leads nowhere.
    """
    if told := explicit or os.environ.get(VARIABLE):
        try:
            return Path(told).expanduser().absolute()
        except RuntimeError:
            raise ConfigError((Problem("", f"{told} is in the home of a user who is not there"),)) from None
    here = Path(NAME).absolute()
    user = user_folder(sys.platform, os.environ)
    if not os.path.lexists(here) and user is not None and os.path.lexists(user / NAME):
        return user / NAME
    return here


def user_folder(platform: str, environ: Mapping[str, str]) -> Path | None:
    """Where this system keeps our configuration of this user; None if nobody knows the user's home."""
    told = Path(environ.get("APPDATA" if platform == "win32" else "XDG_CONFIG_HOME", ""))
    if told.is_absolute():
        return told / FOLDER
    try:
        home = Path.home()
    except RuntimeError:
        return None
    usual = {"win32": "AppData/Roaming", "darwin": "Library/Application Support"}
    return home / usual.get(platform, ".config") / FOLDER


def load(path: Path) -> Loaded:
    """Read and judge everything. Raises ConfigError with all problems, each with its place and line."""
    before = stamp(path)
    return resolved(parse(decoded(bytes_of(path), path.name), path), path, before)


def resolved(settings: Settings, path: Path, before: Stamp | None) -> Loaded:
    """The settings with all secrets that they name; `before` is the stamp of the file that they came from."""
    folder = path.parent
    references = (each for endpoint in settings.endpoints for each in _references(endpoint, settings))
    tls = settings.server.tls
    certificates = tuple(each for each in (tls.certificate, tls.key, tls.client_ca) if each is not None)
    seen = {path: before, **stamps((*secrets.files(references, folder), *certificates))}
    endpoints, credentials, by_proxy = [], {}, {}
    known: set[str] = set()
    for endpoint in settings.endpoints:
        by_proxy[endpoint.id] = proxy = proxies.resolved(settings.proxy_of(endpoint), folder)
        known.update(_secrets(endpoint, folder, proxy))
        endpoint, credentials[endpoint.id] = _with_secrets(endpoint, folder, proxy)
        endpoints.append(endpoint)
    settings = settings.model_copy(update={"endpoints": tuple(endpoints)})
    return Loaded(
        path,
        settings,
        credentials=MappingProxyType(credentials),
        proxies=MappingProxyType(by_proxy),
        seen=MappingProxyType(seen),
        secrets=frozenset(known),
    )


def parse(text: str, path: Path) -> Settings:
    """The settings that `text` means as the content of `path`. Raises ConfigError."""
    source = source_of(text, path.name)
    data = sections(source.data, path.name)
    wrong = list(source.problems)
    try:
        settings = Settings.model_validate(data, context={"folder": path.parent})
    except ValidationError as error:
        wrong += problems.found(error, source)
    if wrong:
        raise ConfigError(tuple(sorted(wrong, key=lambda problem: problem.line or 0)))
    return settings


def write_default(path: Path) -> None:
    """Write the commented file of the first run, for its owner only (0600). Raises OSError, also if it is there."""
    from companion.config.template import text  # noqa: PLC0415 - needed once in a lifetime

    if path.exists():
        raise FileExistsError(errno.EEXIST, "there is a file already", str(path))
    write(path, text())


def write(path: Path, text: str) -> None:
    """Put `text` where `path` leads, completely or not at all, for its owner only (0600). Raises OSError."""
    replace(path, text.encode())


def replace(path: Path, content: bytes) -> Stamp:
    """Like `write`, and tells the stamp of just this file, be it replaced at once again by somebody else."""
    from companion.net.posix import give_to  # noqa: PLC0415 - takes asyncio along, which reading does without

    path = Path(os.path.realpath(path))
    if not path.parent.exists():
        path.parent.mkdir(parents=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if path.exists():
                give_to(file.fileno(), path.stat())
            found = os.fstat(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return found.st_mtime_ns, found.st_size, found.st_ino


def bytes_of(path: Path) -> bytes:
    """The file's content, or a ConfigError that says why there is none to be had."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        said = f"cannot be read: {(error.strerror or type(error).__name__).lower()}"
        raise ConfigError((Problem(str(path), said),)) from None
    if len(data) > MAX_FILE:
        raise ConfigError(
            (Problem(path.name, f"is larger than {MAX_FILE // 1024} KiB, too large for a configuration"),)
        )
    return data


def decoded(data: bytes, name: str) -> str:
    """The text of a file called `name`, which may begin with a mark of its byte order. Raises ConfigError."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError((Problem(name, "is not UTF-8 text; save it as UTF-8", line),)) from None


def _references(endpoint: EndpointSettings, settings: Settings) -> Iterator[str]:
    yield settings.proxy_of(endpoint)
    yield from endpoint.auth.values
    yield from endpoint.headers.set.values()


def _secrets(endpoint: EndpointSettings, folder: Path, proxy: Credential) -> Iterator[str]:
    """What this endpoint has that must be seen nowhere: keys, also in its URL and headers, and its proxy's password."""
    yield from secrets.in_query(endpoint.url)
    for written in endpoint.auth.values:
        yield secrets.resolve(written, folder).value or ""
    for name, written in endpoint.headers.set.items():
        value = secrets.resolve(written, folder).value or ""
        if value != written or secrets.names_secret(name):
            yield value
    yield from proxies.passwords(proxy.value or "")


def _with_secrets(
    endpoint: EndpointSettings, folder: Path, proxy: Credential
) -> tuple[EndpointSettings, tuple[Credential, ...]]:
    """The endpoint with its headers' secrets, and its credentials: of no use where a secret or the proxy is missing."""
    values = {name: secrets.resolve(value, folder) for name, value in endpoint.headers.set.items()}
    credentials = tuple(secrets.resolve(value, folder) for value in endpoint.auth.values) or (NOT_NEEDED,)
    needed = {"proxy": proxy, **{f"headers.set.{name}": header for name, header in values.items()}}
    for name, each in needed.items():
        if each.problem is not None:
            problem = f"{name}: {each.problem}"
            return endpoint, tuple(Credential(each.reference, None, problem) for each in credentials)
    if not values:
        return endpoint, credentials
    headers = HeaderEdits(set={name: each.value or "" for name, each in values.items()}, remove=endpoint.headers.remove)
    return endpoint.model_copy(update={"headers": headers}), credentials
