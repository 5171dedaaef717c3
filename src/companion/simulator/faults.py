"""The replies by name, for the command line: `cut:after_text:fin`, `status:429:retry_after=30`."""

import inspect
from collections.abc import Callable, Mapping
from typing import Final

from companion.simulator import replies
from companion.simulator.exchange import Reply
from companion.simulator.words import seconds

# These want data that a command line cannot give.
_NOT_HERE: Final = frozenset({"events", "raw"})

FAULTS: Final[Mapping[str, Callable[..., Reply]]] = {
    name: getattr(replies, name) for name in replies.__all__ if name not in _NOT_HERE
}


def parse(text: str) -> Reply:
    """Make the reply that NAME[:argument…] names. Raises ValueError with what is wrong and what there is."""
    name, *words = text.split(":")
    if name not in FAULTS:
        raise ValueError(f"there is no fault {name!r}; there are: {', '.join(sorted(FAULTS))}")
    signature = inspect.signature(FAULTS[name])
    plain = [word for word in words if "=" not in word]
    named = dict(word.split("=", 1) for word in words if "=" in word)
    try:
        bound = signature.bind(*plain, **named)
        given = {key: _value(str(value), signature.parameters[key]) for key, value in bound.arguments.items()}
        return FAULTS[name](**given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}; it is written {usage(name)}") from None


def usage(name: str) -> str:
    """How a fault is written, with its arguments."""
    parameters = inspect.signature(FAULTS[name]).parameters.values()
    return ":".join([name, *(_shown(parameter) for parameter in parameters if _reader(parameter))])


def about(name: str) -> str:
    """The first line of what a fault is."""
    return (inspect.getdoc(FAULTS[name]) or "").partition("\n")[0]


def _value(text: str, parameter: inspect.Parameter) -> object:
    reader = _reader(parameter)
    if reader is None:
        raise ValueError(f"{parameter.name} cannot be given here")
    value = reader(text)
    choices = getattr(parameter.annotation, "__args__", ())
    if choices and isinstance(choices[0], str) and value not in choices:
        raise ValueError(f"{parameter.name} is one of {', '.join(choices)}")
    return value


def _shown(parameter: inspect.Parameter) -> str:
    word = parameter.name.upper()
    if parameter.kind is parameter.KEYWORD_ONLY:
        return f"[{parameter.name}={word}]"
    return word if parameter.default is parameter.empty else f"[{word}]"


def _reader(parameter: inspect.Parameter) -> Callable[[str], object] | None:
    """How a word becomes an argument; None for what cannot be a word."""
    kinds: dict[object, Callable[[str], object]] = {
        str: str,
        str | None: str,
        int: int,
        float: seconds,
        float | None: seconds,
        bool: lambda text: text.lower() in {"1", "true", "yes"},
    }
    literal = isinstance(getattr(parameter.annotation, "__args__", (None,))[0], str)
    return str if literal else kinds.get(parameter.annotation)
