"""Settings from YAML files, which hold only what differs from the defaults, and key=value overrides last."""

import dataclasses
import difflib
import os
import re
import types
import typing
from pathlib import Path

import yaml

from .settings import Config, check, flatten, shown, to_plain

MAX_LENGTH = 50_000  # of a file, in characters: more take seconds to parse


def load_config(path, overrides=()):
    """Read a YAML file, the files it names as `base`, and key=value overrides into a checked Config.

    Raises ValueError in one sentence that names the file or dotted key and the remedy.
    """
    values = read_yaml(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"{shown(override)} is not key=value, for example train.steps=1000")
        try:
            value = yaml.load(text, Loader=Loader)
        except UNREADABLE:
            raise ValueError(f"{shown(override)}: the value cannot be read, put it in quotes") from None
        put(values, key.strip().split("."), value, key)
    config = build(Config, values)
    if not config.run:
        config = dataclasses.replace(config, run=Path(path).stem)
    check(config)
    return config


def from_plain(values):
    """A Config of nested plain values, such as a checkpoint's."""
    return build(Config, values)


def to_yaml(config):
    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)


class Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error, and merges of merges do not multiply."""

    def flatten_mapping(self, node):
        super().flatten_mapping(node)
        pairs = {pair[0].value if isinstance(pair[0], yaml.ScalarNode) else id(pair): pair for pair in node.value}
        node.value = list(pairs.values())

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None  # others are refused below
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", key_node.start_mark)
            seen |= {key} - {None}
        return super().construct_mapping(node, deep)


# Plain numbers alone: YAML 1.1 reads 1:30 as 90, 1_0 as 10 and 010 as 8. `convert` makes numbers of 1e-4 and 010.
Loader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] not in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
WHOLE = r"[-+]?(0|[1-9][0-9]*)"
REAL = rf"(({WHOLE})?\.[0-9]+|{WHOLE}\.)([eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan"
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(rf"{WHOLE}$"), "-+0123456789")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"({REAL})$"), "-+0123456789.")


UNREADABLE = (yaml.YAMLError, RecursionError, ValueError)  # ValueError: a date or number that is none


def read_yaml(path, seen=()):
    """The nested values of a file over those of its `base`, which is found relative to the file."""
    path = Path(path)
    if path.resolve() in seen:
        raise ValueError(f"{path}: base leads back to itself")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(MAX_LENGTH + 1)
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1, 0.4)
        hint = f", did you mean {path.parent / near[0]}?" if near else ": give a YAML file, such as configs/demo.yaml"
        raise ValueError(f"settings file {path} does not exist{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"settings file {path} cannot be read: {getattr(error, 'strerror', error)}") from None
    if len(text) > MAX_LENGTH:
        raise ValueError(f"{path}: over {MAX_LENGTH:,} characters is no settings file")
    try:
        values = yaml.load(text, Loader=Loader)
    except UNREADABLE as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{line} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, not settings such as 'train: {{steps: 1000}}'")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise ValueError(f"{path}: base must be the name of a YAML file, got {shown(base)}")
    merged = read_yaml(path.parent / Path(base).expanduser(), (*seen, path.resolve()))
    for key, value in values.items():
        sections = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if sections else value
    return merged


def put(values, keys, value, dotted):
    for key in keys[:-1]:
        section = values.get(key, {})
        if not isinstance(section, dict):
            raise ValueError(f"unknown setting {dotted}: {key} is a value, not a section")
        values[key] = values = dict(section)  # a copy: an alias in the file may stand for it elsewhere, too
    values[keys[-1]] = value


def build(kind, values, prefix=""):
    """A dataclass from a nested dict, each value checked against its field's type."""
    if not isinstance(values, dict):
        raise ValueError(f"{prefix[:-1]} is a section of settings, got {shown(values)}")
    hints = typing.get_type_hints(kind)
    for key in values:
        if key not in hints:
            dotted = f"{prefix}{key}"[:100]
            raise ValueError(f"unknown setting {dotted}{suggestion(dotted)}")
    made = {}
    for key, value in values.items():
        section = dataclasses.is_dataclass(hints[key])
        made[key] = build(hints[key], value, f"{key}.") if section else convert(value, hints[key], f"{prefix}{key}")
    return kind(**made)


def suggestion(dotted):
    keys = [key for key, _ in flatten(to_plain(Config()))]
    known = [*dict.fromkeys(key.split(".")[0] for key in keys), *keys]  # sections, too
    same_name = [key for key in known if key.rsplit(".", 1)[-1] == dotted.rsplit(".", 1)[-1]]
    near = same_name or difflib.get_close_matches(dotted, known, 1, 0.5)
    return f": did you mean {near[0]}?" if near else ": see utils/settings.py for all settings"


TYPES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    types.NoneType: "null",
    tuple[str, ...]: "a list of texts",
    tuple[float, float]: "a list of two numbers",
}


def convert(value, hint, dotted):
    """The value as its field's type; numbers may be written as text that YAML does not read as one, such as 1e-4."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for option in options:
        if value in choices(option) or (option is types.NoneType and value is None):
            return value
        if option is bool and isinstance(value, bool):
            return value
        if option in (int, float) and not isinstance(value, bool):
            number = as_number(value)
            if number is not None and (option is float or number == int(number)):
                return option(number)
        if option is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            text = str(value)
            return os.path.expanduser(text) if text.startswith("~/") else text
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            if option == tuple[str, ...] and value and all(isinstance(item, str) for item in value):
                return tuple(value)
            numbers = [as_number(item) for item in value]
            if option == tuple[float, float] and len(value) == 2 and None not in numbers:
                return tuple(map(float, numbers))
    wanted = [TYPES.get(option) or f"one of {', '.join(choices(option))}" for option in options]
    raise ValueError(f"{dotted} must be {' or '.join(wanted)}, got {shown(value)}")


def choices(hint):
    """The values of a Literal type; none for any other type."""
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def as_number(value):
    if isinstance(value, str) and "_" not in value:
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, (int, float)) and abs(value) < 1e300 else None
