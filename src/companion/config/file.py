"""The file: found, read, checked as a whole, and written once, when there is none yet."""

import difflib
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError

from companion.config import secrets
from companion.config.models import Settings
from companion.config.places import Path as Place
from companion.config.places import line_of, shown
from companion.config.secrets import Credential
from companion.errors import ConfigError, Problem

NAME: Final = "config.yaml"
VARIABLE: Final = "COMPANION_CONFIG"
MAX_FILE: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used: the settings, and the keys that they name, by endpoint id."""

    path: Path
    settings: Settings
    credentials: Mapping[str, tuple[Credential, ...]] = field(repr=False)


def find(explicit: str | None = None) -> Path:
    """The one file: as told, else $COMPANION_CONFIG, ./config.yaml, the user's folder. It may be there or not."""
    if told := explicit or os.environ.get(VARIABLE):
        return Path(told).expanduser().absolute()
    here = Path(NAME).absolute()
    own = user_folder() / NAME
    return own if own.exists() and not here.exists() else here


def user_folder() -> Path:
    """Where this system keeps a user's configuration of ours."""
    if sys.platform == "win32":
        base = Path(os.environ.get("APPDATA", Path.home()))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return base / "claude-code-companion"


def load(path: Path) -> Loaded:
    """Read and check everything. Raises ConfigError with all problems, each with its place and line."""
    settings = parse(_text(path))
    found = {
        endpoint.id: tuple(secrets.resolve(value, path.parent) for value in endpoint.auth.values)
        or (Credential("", None),)
        for endpoint in settings.endpoints
    }
    return Loaded(path, _absolute(settings, path.parent), MappingProxyType(found))


def parse(text: str) -> Settings:
    """The settings that a file's text means. Raises ConfigError."""
    root = _yaml(text)
    problems = [*_unknown(root, Settings, ()), *_doubles(root)]
    settings = None
    try:
        settings = Settings.model_validate(_plain(root))
    except ValidationError as error:
        problems += _invalid(error)
    if problems or settings is None:
        found = [Problem(shown(place), said, line_of(root, place)) for place, said in problems]
        raise ConfigError(tuple(sorted(found, key=lambda problem: problem.line or 0)))
    return settings


def write_default(path: Path) -> None:
    """The commented file of the first run, for its owner's eyes only. Raises OSError."""
    from companion.config.template import render  # noqa: PLC0415  # needed once in a lifetime

    write(path, render())


def write(path: Path, text: str) -> None:
    """Replace the file as a whole or not at all (0600). Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


# === reading


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ConfigError((Problem(str(path), f"is larger than {MAX_FILE} bytes"),))
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError((Problem(str(path), "is not UTF-8 text"),)) from None
    except OSError as error:
        raise ConfigError((Problem(str(path), f"cannot be read: {error.strerror}"),)) from None


def _yaml(text: str) -> Any:
    from ruamel.yaml import YAML  # noqa: PLC0415  # 40 ms that only a start and a change of the file pay
    from ruamel.yaml.constructor import DuplicateKeyError  # noqa: PLC0415  # as above
    from ruamel.yaml.error import MarkedYAMLError, YAMLError  # noqa: PLC0415  # as above

    try:
        root = YAML().load(text)
    except DuplicateKeyError as error:
        raise ConfigError((Problem("", _first_line(error.problem), _line(error)),)) from None
    except MarkedYAMLError as error:
        said = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError((Problem("", f"is not YAML: {said}", _line(error)),)) from None
    except (YAMLError, RecursionError, ValueError) as error:
        raise ConfigError((Problem("", f"is not YAML: {_first_line(str(error))}"),)) from None
    if root is None:
        return {}
    if not isinstance(root, dict):
        raise ConfigError((Problem("", "must be a list of sections such as `endpoints:`", 1),))
    return root


def _line(error: Any) -> int | None:
    mark = error.problem_mark or error.context_mark
    return None if mark is None else mark.line + 1


def _first_line(text: str | None) -> str:
    return (text or "").strip().partition("\n")[0]


def _plain(node: Any) -> Any:
    """Without ruamel's own types; an empty section is the same as none."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items() if not _empty_section(key, value)}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    if isinstance(node, str):
        return str(node)
    if isinstance(node, bool) or node is None:
        return node
    return float(node) if isinstance(node, float) else int(node) if isinstance(node, int) else node


def _empty_section(key: Any, value: Any) -> bool:
    return value is None and key in _SECTIONS


# === judging


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


_SECTIONS: Final = frozenset(Settings.model_fields) | {"timeouts", "pool", "limits", "models", "headers", "body"}


def _unknown(node: Any, model: type[BaseModel], path: Place) -> Iterator[tuple[Place, str]]:
    if not isinstance(node, dict):
        return
    known = {info.alias or name: info for name, info in model.model_fields.items()}
    for key, value in node.items():
        if key not in known:
            yield (*path, str(key)), _suggest(str(key), known)
            continue
        for inner in _models(known[key].annotation):
            if isinstance(value, list):
                for index, item in enumerate(value):
                    yield from _unknown(item, inner, (*path, key, index))
            else:
                yield from _unknown(value, inner, (*path, key))


def _suggest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), 1, 0.6)
    return f"unknown key; did you mean {near[0]!r}?" if near else f"unknown key; known are {', '.join(known)}"


def _doubles(root: Any) -> Iterator[tuple[Place, str]]:
    endpoints = root.get("endpoints")
    for name in ("name", "id"):
        seen: dict[str, int] = {}
        for index, endpoint in enumerate(endpoints if isinstance(endpoints, list) else ()):
            value = (
                endpoint.get(name) or (endpoint.get("name") if name == "id" else None)
                if isinstance(endpoint, dict)
                else None
            )
            if not isinstance(value, str):
                continue
            place: Place = ("endpoints", index, name)
            if value.strip() not in seen:
                seen[value.strip()] = index
            elif name == "name" or "id" in endpoint:
                line = line_of(root, ("endpoints", seen[value.strip()], name))
                yield (
                    place,
                    f"{value!r} is taken by endpoints[{seen[value.strip()]}] in line {line}; give each its own {name}",
                )


def _invalid(error: ValidationError) -> Iterator[tuple[Place, str]]:
    for each in error.errors(include_url=False, include_input=False):
        if each["type"] == "extra_forbidden":
            continue
        said = each["msg"].removeprefix("Value error, ")
        place = tuple(part for part in each["loc"] if part != "function-before[_absent(), float]")
        if each["type"] == "missing":
            said = "is missing"
        key, colon, rest = said.partition(": ")
        if (
            each["type"] == "value_error"
            and colon
            and key.replace(".", "").replace("_", "").isalpha()
            and key.islower()
        ):
            place, said = (*place, *key.split(".")), rest
        yield place, said


def _absolute(settings: Settings, folder: Path) -> Settings:
    """Relative paths are relative to the file."""
    logging, defaults = settings.logging, settings.defaults
    if logging.file is not None:
        logging = logging.model_copy(update={"file": folder / logging.file.expanduser()})
    if defaults.ca is not None:
        defaults = defaults.model_copy(update={"ca": folder / defaults.ca.expanduser()})
    return settings.model_copy(update={"logging": logging, "defaults": defaults})
