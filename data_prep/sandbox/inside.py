"""What runs inside the sandbox to judge functions: calls of a program's function, and checks that ask for its results.

`call_all` runs with the program, `run_check` with the test: two processes, so that no program sees what is expected of
it. What goes between them is JSON of plain values (`encode`), never an object of the program's.
"""

import builtins
import json
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

MAX_AHEAD = 2000  # calls that a check may ask for at once


def encode(value: Any) -> Any:
    """A plain value as JSON that keeps its types; of others only the name of their type."""
    if value is None or isinstance(value, bool):
        return value
    for plain in (int, float, str):
        if isinstance(value, plain):
            return plain(value)
    for name, kinds in (("list", list), ("tuple", tuple), ("set", (set, frozenset))):
        if isinstance(value, kinds):
            return {name: [encode(each) for each in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(each)] for key, each in value.items()]}
    if type(value).__module__ == "numpy":
        return encode(value.tolist())
    return {"other": type(value).__name__}


def decode(value: Any) -> Any:
    """The value of an encoded one; an object that equals nothing for what is not plain."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "dict":
        return {decode(key): decode(each) for key, each in content}
    made = {"list": list, "tuple": tuple, "set": set}.get(kind)
    return object() if made is None else made(decode(each) for each in content)


def is_plain(value: Any) -> bool:
    """Whether an encoded value holds nothing that is not plain."""
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return kind != "other" and all(map(is_plain, content))
    return all(map(is_plain, value)) if isinstance(value, list) else True


def take_output() -> int:
    """A descriptor for the result; what a program prints from now on goes nowhere."""
    out = os.dup(1)
    os.dup2(2, 1)
    return out


def module_of(*sources: str) -> dict[str, Any]:
    """Runs sources one after the other as a module of its own, which is not `__main__`; its names."""
    module = ModuleType("program")
    sys.modules["program"] = module
    for source in sources:
        exec(compile(source, "<program>", "exec"), module.__dict__)
    return module.__dict__


def call_all(context: str, source: str, name: str) -> None:
    """Calls the program's function, or the method of its class Solution; prints a line of JSON for each call.

    Standard input: a JSON list of encoded [positional, named] arguments.
    """
    calls = json.load(sys.stdin)
    out = take_output()
    names = module_of(context, source)
    if name not in names and "Solution" not in names:
        raise NameError(f"no function {name}")
    for positional, named in calls:
        function = names[name] if name in names else getattr(names["Solution"](), name)
        try:
            line = {"value": encode(function(*decode(positional), **decode(named)))}
        except Exception as error:
            line = {"error": type(error).__name__, "message": str(error)[:300]}
        text = memoryview(json.dumps(line).encode() + b"\n")
        while text:
            text = text[os.write(out, text) :]


class Anything:
    """A result that is not known yet: it passes most assertions, so that a check goes on and asks for more."""

    def __init__(self, *arguments: object, **named: object) -> None:
        pass

    def itself(self, *arguments: object, **named: object) -> "Anything":
        return self

    def true(self, *arguments: object) -> bool:
        return True

    def zero(self) -> int:
        return 0

    def __float__(self) -> float:
        return 0.0

    def __iter__(self) -> Any:
        return iter(())

    def __hash__(self) -> int:
        return 0

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __bool__ = true
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = itself
    __floordiv__ = __mod__ = __pow__ = __abs__ = __neg__ = __round__ = __getitem__ = __call__ = __getattr__ = itself
    __len__ = __int__ = __index__ = zero


class Stopped(BaseException):
    """The check needs a result that is not known."""


def run_check(context: str, test: str, name: str, ahead: bool) -> None:
    """Runs `check(candidate)` of the test with known results; prints what it has asked for and how it ended, as JSON.

    Standard input: a JSON list of results, as lines of `call_all`. Past them a call gives Anything with `ahead`, else
    the check stops there. `ended`: passed, failed, or broken, where the check cannot be run at all.
    """
    known = json.load(sys.stdin)
    out = take_output()
    calls: list[Any] = []
    stop = Stopped()

    def candidate(*positional: Any, **named: Any) -> Any:
        arguments = [encode(list(positional)), encode(named)]
        beyond = len(calls) >= len(known)
        if not is_plain(arguments):
            if not beyond:
                calls.append(None)  # cannot be handed over
            raise stop
        calls.append(arguments)
        if not beyond:
            result = known[len(calls) - 1]
            if "error" in result:
                kind = getattr(builtins, result["error"], Exception)
                raise (kind if isinstance(kind, type) and issubclass(kind, Exception) else Exception)(result["message"])
            return decode(result["value"])
        if not ahead or len(calls) - len(known) >= MAX_AHEAD:
            raise stop
        return Anything()

    ended, detail = "broken", ""
    try:
        names = module_of(context)
        names[name] = candidate
        exec(compile(test, "<test>", "exec"), names)
        check: Callable[[Any], None] = names["check"]
    except BaseException as error:
        detail = f"{type(error).__name__}: {error}"
    else:
        try:
            check(candidate)
            ended = "passed"
        except BaseException as error:
            ended, detail = "failed", f"{type(error).__name__}: {error}"
    report = {"calls": calls, "ended": ended, "detail": detail[:300]}
    os.write(out, json.dumps(report).encode())
