"""Strict settings for every recipe: a YAML file, the command line, and the dataclasses that declare the options.

The flags are those of TRL's `TrlParser` (an `HfArgumentParser`), so a recipe takes the options of its own dataclasses
and of TRL's. `TrlParser` alone takes abbreviated flags, does not look at the types of YAML values, and does not look
inside nested ones. Here everything is checked against the type hints, and a refusal is one line with the file, the key,
what was expected, and the nearest known key.

Values win in this order: command line, YAML, hardware-dependent defaults, dataclass defaults. A nested value is
replaced whole. This module imports torch, transformers and TRL only when the real parser is needed, so `--help` is
quick.
"""

import argparse
import dataclasses
import difflib
import os
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints, is_typeddict

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIRED = dataclasses.MISSING
UNIONS = (Union, types.UnionType)
# The words that HfArgumentParser takes on the command line.
TRUTH = {word: True for word in ("yes", "true", "t", "y", "1")} | {
    word: False for word in ("no", "false", "f", "n", "0")
}
READ: dict[Any, Callable[[str], Any]] = {int: int, float: float, bool: lambda word: TRUTH[word.lower()]}
NAMES: dict[Any, str] = {int: "integer", float: "number", bool: "true or false", str: "text", types.NoneType: "null"}


class ConfigError(ValueError):
    """Settings that the user has to correct: one line, `where` (source and key) and what is wrong there."""

    def __init__(self, where: str, problem: str):
        super().__init__(" ".join(f"{where}: {problem}".split()))
        self.where = where


class Option(NamedTuple):
    """One declared setting. `default` is `REQUIRED` where there is none."""

    hint: Any
    default: Any = REQUIRED
    metadata: Mapping[str, Any] = types.MappingProxyType({})


def parse_config(
    stage: str,
    doc: str,
    own: Sequence[type],
    trainer: Callable[[], Sequence[type]] = lambda: (),
    common: Mapping[str, str] = types.MappingProxyType({}),
    defaults: Callable[[], Mapping[str, Any]] = dict,
    argv: Sequence[str] | None = None,
) -> tuple[Any, ...]:
    """Settings of a recipe, one instance per dataclass, `own` first; prints a line that names the configuration.

    `--help` and `--help_all` print and exit with 0. A mistake of the user is printed as one line `error: ...` (by the
    main process only) and exits with 2. Both raise `SystemExit`; the latter has the `ConfigError` as its cause.

    Args:
        stage: recipe name; with no arguments at all its preset `recipes/configs/tiny/<stage>.yaml` is used.
        doc: the recipe's docstring, printed on top of the help.
        own: the recipe's dataclasses, cheap to import; fields have `metadata={"help": ...}`, where a percent
            sign is written `%%`, as argparse wants it.
        trainer: imports and returns the dataclasses that are slow to import, such as `trl.SFTConfig`.
        common: trainer options that people change, name -> help text, for the short help (see `stale_common`).
        defaults: values that depend on the hardware, such as `{"use_cpu": True}`; they yield to YAML and command line.
        argv: arguments, by default those of the process.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    main_process = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
    help_text = ""
    if "--help" in argv or "-h" in argv:
        help_text = _short_help(stage, doc, own, common)
    elif "--help_all" in argv:
        help_text = f"{doc.strip()}\n\n{_parser([*own, *trainer()], bool(trainer())).format_help()}"
    if help_text:
        if main_process:
            print(help_text.rstrip())
        raise SystemExit(0)
    try:
        return _read(stage, own, trainer, defaults, argv, main_process)
    except ConfigError as error:
        if main_process:
            print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def stale_common(trainer: Callable[[], Sequence[type]], common: Mapping[str, str]) -> list[str]:
    """Entries of `common` that the real dataclasses contradict: an unknown name, or another final `(default: ...)`."""
    options = {key: option for cls in trainer() for key, option in _options(cls).items()}
    problems = [f"{key}: unknown option{nearest(key, options)}" for key in common if key not in options]
    for key in [key for key in common if key in options]:
        shown = re.search(r"\(default: (.*?)\)$", common[key])
        if shown and shown[1].strip("'") not in (str(options[key].default), _show(options[key].default)):
            problems.append(f"{key}: the help says default {shown[1]}, it is {_show(options[key].default)}")
    return problems


# --- Where values come from


def _read(
    stage: str,
    own: Sequence[type],
    trainer: Callable[[], Sequence[type]],
    defaults: Callable[[], Mapping[str, Any]],
    argv: list[str],
    main_process: bool,
) -> tuple[Any, ...]:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config", action="append", default=[])
    config, flags = _parse(first, argv)
    paths = config["config"] if argv else [_tiny_preset(stage)]
    if len(paths) > 1:
        raise ConfigError("command line: --config", f"given {len(paths)} times, expected once")
    name = paths[0] if paths else "built-in defaults (no --config given)"
    from_file = _load_yaml(paths[0]) if paths else {}
    # Before the slow imports: libraries read variables such as HF_HUB_OFFLINE once, when they are imported.
    _set_environment(from_file.pop("env", {}), name)

    classes = [*own, *trainer()]
    options: dict[str, Option] = {}
    for cls in classes:
        twice = _options(cls).keys() & {*options, "env", "config", "help", "help_all"}
        assert not twice, f"{cls.__name__} declares names that are taken: {sorted(twice)}"
        options.update(_options(cls))
    given = _read_flags(_parser(classes, len(classes) > len(own)), options, flags)
    if main_process:
        plural = "option" if len(given) == 1 else "options"
        print(f"config: {name}" + (f" (+ {len(given)} {plural} from the command line)" if given else ""), flush=True)

    values = {key: option.default for key, option in options.items()}
    values |= _check_all(defaults(), options, "hardware-dependent defaults: ")
    values |= _check_all(from_file, options, f"{name}: ")
    values |= _check_all(given, options, "command line: --", text=True)
    missing = [key for key, value in values.items() if value is REQUIRED]
    if missing:
        raise ConfigError(name, f"{', '.join(missing)}: required, set it in the YAML file or with --{missing[0]}")
    if isinstance(model := values.get("model_name_or_path"), str):
        values["model_name_or_path"] = _find_model(model, name)
    # Warnings are shown after success only, so that an error stands alone.
    with warnings.catch_warnings(record=True) as caught:
        instances = tuple(_build(cls, values, name) for cls in classes)
    for warning in caught:
        warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return instances


def _build(cls: type, values: Mapping[str, Any], name: str) -> Any:
    try:
        return cls(**{key: values[key] for key in _options(cls)})
    except (ValueError, TypeError, ImportError, OSError, NotImplementedError) as error:
        raise ConfigError(name, f"these settings together are refused by {cls.__name__}: {error}") from error


def _find_model(model: str, name: str) -> str:
    """A Hub name or an existing folder; what presets name in the repository is found from other folders too."""
    if not Path(model).exists() and (REPOSITORY / model).is_dir():
        return str(REPOSITORY / model)
    if not Path(model).exists() and (model.startswith((".", "/", "~")) or model.count("/") > 1):
        raise ConfigError(name, f"model_name_or_path {model}: no such folder (looked in {Path.cwd()})")
    return model


def _tiny_preset(stage: str) -> str:
    path = REPOSITORY / "recipes" / "configs" / "tiny" / f"{stage}.yaml"
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


class _StrictLoader(yaml.SafeLoader):
    """PyYAML's safe loader keeps the last of two equal keys; this one refuses them."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        # Before the parent's method, which puts the keys of a "<<" merge beside those that override them.
        for key in [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load_yaml(path: str) -> dict[str, Any]:
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _StrictLoader)
    except OSError as error:
        raise ConfigError(path, f"cannot read this config file: {error.strerror}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an impossible date
        mark = getattr(error, "problem_mark", None)
        where = f"{path}: line {mark.line + 1}" if mark else path
        raise ConfigError(where, f"not valid YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(content, dict):
        found = "an empty file" if content is None else _show(content)
        raise ConfigError(path, f"expected lines 'option: value', got {found}")
    return content


def _set_environment(variables: Any, name: str) -> None:
    """TRL's `env:` block of a YAML file. As there, it overrides variables that are set already."""
    if not isinstance(variables, dict):
        raise ConfigError(f"{name}: env", f"expected mapping of variables to values, got {_show(variables)}")
    for key, value in variables.items():
        if not isinstance(value, str | int | float):
            raise ConfigError(f"{name}: env.{key}", f"expected text, got {_show(value)}")
        os.environ[str(key)] = str(value)


def _parser(classes: Iterable[Any], trained: bool = True) -> argparse.ArgumentParser:
    """The flags of the dataclasses. Without a trainer's among them (`trained`) TRL, slow to import, is not needed."""
    usage = "%(prog)s [--config YAML] [--help | --help_all] [--option value ...]"
    if trained:
        from trl import TrlParser

        return TrlParser(list(classes), usage=usage, add_help=False, allow_abbrev=False, exit_on_error=False)
    parser = argparse.ArgumentParser(usage=usage, add_help=False, allow_abbrev=False, exit_on_error=False)
    for key, option in [item for cls in classes for item in _options(cls).items()]:
        members = {get_origin(member) or member for member in (get_args(option.hint) or ())} | {
            get_origin(option.hint) or option.hint
        }
        many = "+" if list in members else "?" if bool in members or "const" in option.metadata else None
        flags = [f"--{key}"] + ([f"--{key.replace('_', '-')}"] if "_" in key else [])
        given = {"nargs": many, **({"const": True} if many == "?" else {}), **option.metadata}
        given.pop("choices", None)  # `_check` looks at them
        parser.add_argument(*flags, dest=key, **given)
        if option.hint is bool and option.default is True:
            parser.add_argument(f"--no_{key}", f"--no-{key.replace('_', '-')}", dest=key, action="store_false")
    return parser


def _parse(parser: argparse.ArgumentParser, argv: list[str]) -> tuple[dict[str, Any], list[str]]:
    try:
        known, rest = parser.parse_known_args(argv)
    except argparse.ArgumentError as error:
        raise ConfigError(f"command line: {str(error.argument_name).split('/')[0]}", error.message) from error
    return vars(known), rest


def _read_flags(parser: argparse.ArgumentParser, options: Mapping[str, Option], argv: list[str]) -> dict[str, Any]:
    """Options that stand on the command line: name -> text, list of texts, or the truth value of a bare flag."""
    for action in parser._actions:  # as TrlParser.set_defaults_with_config does
        # Types and choices are left to `_check`, so that YAML and command line follow one rule.
        action.type, action.choices, action.default, action.required = None, None, argparse.SUPPRESS, False
        # HfArgumentParser demands a value for `bool | None` (`--bf16 true`) but not for `bool`: make it optional.
        if action.nargs is None and bool in get_args(options[action.dest].hint):
            action.nargs, action.const = "?", True
    given, rest = _parse(parser, argv)
    for flag in [word.split("=")[0] for word in rest if word.startswith("-")]:
        key = flag.lstrip("-").replace("-", "_")
        if key.startswith("no_") and key[3:] in options:
            raise ConfigError(f"command line: {flag}", f"unknown option, write --{key[3:]} false")
        raise ConfigError(f"command line: {flag}", f"unknown option{nearest(key, [*options, 'config'], '--')}")
    if rest:
        hint = f", a config file is given with --config {rest[0]}" if rest[0].endswith((".yaml", ".yml")) else ""
        raise ConfigError(f"command line: {rest[0]}", f"belongs to no option{hint}")
    return given


# --- Checking values against type hints


def _options(shape: Any) -> dict[str, Option]:
    """What a dataclass or a TypedDict declares."""
    hints = get_type_hints(shape)
    if is_typeddict(shape):
        return {key: Option(hint, REQUIRED if key in shape.__required_keys__ else ...) for key, hint in hints.items()}
    options = {}
    for field in dataclasses.fields(shape):
        if field.init:
            default = field.default if field.default_factory is REQUIRED else field.default_factory()
            options[field.name] = Option(hints[field.name], default, field.metadata)
    return options


def _check_all(values: Mapping[Any, Any], options: Mapping[str, Option], at: str, text: bool = False) -> dict[str, Any]:
    """Checked values; `at` comes directly before the key in messages."""
    for key in values:
        if key not in options:
            raise ConfigError(f"{at}{key}", f"unknown key{nearest(str(key), options)}")
    return {key: _check(value, options[key], f"{at}{key}", text) for key, value in values.items()}


def _check(value: Any, option: Option, at: str, text: bool) -> Any:
    """`value` as the option's type. `text`: strings are from the command line and still to be read."""
    if (value is None and option.default is None) or (value is True and option.metadata.get("const") is True):
        return value  # the second: an option of another type that can stand alone, as `--fsdp`
    checked = _convert(value, option.hint, at, text)
    choices = list(option.metadata.get("choices") or ())
    for item in checked if isinstance(checked, list) else [checked]:
        if choices and item is not None and item not in choices:
            raise ConfigError(at, f"expected {_one_of(choices)}, got {_show(item)}{nearest(str(item), choices)}")
    return checked


def _convert(value: Any, hint: Any, at: str, text: bool) -> Any:
    origin, args = get_origin(hint) or hint, get_args(hint)

    def refusal(advice: str = "") -> ConfigError:
        return ConfigError(at, f"expected {_describe(hint)}, got {_show(value)}{advice}")

    if hint is Any:
        return value
    if origin in UNIONS:
        return _convert_union(value, hint, at, text)
    if choices := _choices(hint):
        value = value.value if isinstance(value, Enum) else value
        # YAML reads a bare no, off, yes or on as a truth value; `save_strategy: no` means the word.
        words = ("yes", "on", "true") if value is True else ("no", "off", "false") if value is False else ()
        for choice in choices:
            if (type(choice) is type(value) and choice == value) or choice in words or (text and str(choice) == value):
                return choice if origin is Literal else hint(choice)
        raise refusal(nearest(str(value), [str(choice) for choice in choices]))
    if isinstance(value, str) and origin in READ and (text or origin is float):  # YAML reads 1e-5 as text: no dot
        try:
            return READ[origin](value)
        except (ValueError, KeyError):
            raise refusal() from None
    if origin is list and isinstance(value, list):
        return [_convert(item, args[0] if args else Any, f"{at}[{i}]", text) for i, item in enumerate(value)]
    if _is_mapping(hint):
        return _convert_mapping(value, hint, at, text)
    accepted = {float: (int, float), Path: (str, Path)}.get(origin, origin)
    if isinstance(value, accepted) and (origin is bool or not isinstance(value, bool)):
        return origin(value) if origin in (float, Path) else value
    raise refusal(" (put it in quotes)" if origin is str and not isinstance(value, list | dict | None) else "")


def _convert_union(value: Any, union: Any, at: str, text: bool) -> Any:
    members = _members(union)
    if types.NoneType in members:
        # On the command line "none" stays a word where text is allowed, as in `--report_to none`.
        if value is None or (text and str not in members and str(value).lower() in ("none", "null")):
            return None
        members.remove(types.NoneType)
    errors = []
    for member in members:
        try:
            return _convert(value, member, at, text)
        except ConfigError as error:
            errors.append(error)
    # A member that fitted as far as some nested key has the most helpful message.
    deepest = max(errors, key=lambda error: len(error.where))
    if len(errors) == 1 or deepest.where != at:
        raise deepest
    raise ConfigError(at, f"expected {_describe(union)}, got {_show(value)}")


def _convert_mapping(value: Any, hint: Any, at: str, text: bool) -> Any:
    """Values of dict, TypedDict and dataclass hints; on the command line they are written as YAML or JSON."""
    if dataclasses.is_dataclass(hint) and isinstance(hint, type) and isinstance(value, hint):
        return value
    mapping = value
    if text and isinstance(value, str):
        try:
            mapping = yaml.load(value, _StrictLoader)
        except (yaml.YAMLError, ValueError):
            mapping = None
    if not isinstance(mapping, dict):
        advice = ", write '{key: value}'" if text else ""
        raise ConfigError(at, f"expected {_describe(hint)}, got {_show(value)}{advice}")
    if (get_origin(hint) or hint) is dict:
        key_hint, value_hint = get_args(hint) or (Any, Any)
        return {
            _convert(key, key_hint, f"{at}: key {key}", False): _convert(item, value_hint, f"{at}.{key}", False)
            for key, item in mapping.items()
        }
    options = _options(hint)
    checked = _check_all(mapping, options, f"{at}.")
    missing = [key for key, option in options.items() if option.default is REQUIRED and key not in mapping]
    if missing:
        raise ConfigError(at, f"lacks {', '.join(missing)}")
    try:
        return hint(**checked)
    except (ValueError, TypeError) as error:
        raise ConfigError(at, str(error)) from error


def _is_mapping(hint: Any) -> bool:
    return (get_origin(hint) or hint) is dict or is_typeddict(hint) or dataclasses.is_dataclass(hint)


def _choices(hint: Any) -> list[Any]:
    """Values of a Literal or an Enum, nothing for other hints."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [member.value for member in hint] if isinstance(hint, type) and issubclass(hint, Enum) else []


def _members(union: Any) -> list[Any]:
    """Members of a union in the order in which they are tried: text late, since it takes any word, and null last."""
    members = list(get_args(union))
    # transformers writes `SchedulerType | str` where it means the name of a scheduler, not any text.
    if any(isinstance(member, type) and issubclass(member, Enum) for member in members):
        members = [member for member in members if member is not str]
    return sorted(members, key=lambda m: (m is types.NoneType, m is str))


# --- Words for messages and help


def _describe(hint: Any) -> str:
    """A type hint in words."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin in UNIONS:
        return " or ".join(_describe(member) for member in _members(hint))
    if _choices(hint):
        return _one_of(_choices(hint))
    if origin is list:
        return f"list of {_describe(args[0])}" if args else "list"
    if _is_mapping(hint):
        return "mapping" if origin is dict else f"mapping with keys {', '.join(_options(hint))}"
    return NAMES.get(origin, getattr(hint, "__name__", str(hint)))


def _one_of(choices: Iterable[Any]) -> str:
    return "one of " + ", ".join(map(_show, choices))


def _show(value: Any) -> str:
    """A value as YAML would have it, shortened."""
    value = value.value if isinstance(value, Enum) else value
    plain = {True: "true", False: "false", None: "null"}
    shown = plain[value] if value is None or isinstance(value, bool) else repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def nearest(key: str, known: Iterable[str], prefix: str = "") -> str:
    """` (did you mean ...?)` with the known name that is closest, or nothing where none is close."""
    known = list(known)
    key = key.replace("-", "_")
    # An abbreviation is its own case: "learn" is too far from "learning_rate" for difflib.
    close = [name for name in known if len(key) > 1 and name.startswith(key)] or difflib.get_close_matches(
        key, known, 1
    )
    return f" (did you mean {prefix}{close[0]}?)" if close else ""


def _short_help(stage: str, doc: str, own: Sequence[type], common: Mapping[str, str]) -> str:
    """Help without the slow imports: the recipe's own options and the `common` ones of the trainer."""
    lines = [f"usage: {Path(sys.argv[0]).name} [--config YAML] [--option value ...]", "", doc.strip(), ""]
    lines += [f"Without any argument it runs recipes/configs/tiny/{stage}.yaml.", "", "options of this recipe:"]
    lines += ["  --config YAML", "      file with lines 'option: value'; the command line wins over it"]
    for key, option in [item for cls in own for item in _options(cls).items()]:
        choices = option.metadata.get("choices")
        default = "required" if option.default is REQUIRED else f"default: {_show(option.default)}"
        text = str(option.metadata.get("help", "")).replace("%%", "%")  # argparse's way of writing a percent sign
        lines.append(f"  --{key} ({_one_of(choices) if choices else _describe(option.hint)})")
        lines.append("      " + f"{text} ({default})".strip())
    if common:
        lines += ["", "trainer options that are often changed:"]
        lines += [f"  --{key}\n      {text}" for key, text in common.items()]
    return "\n".join([*lines, "", "--help_all shows every flag."])
