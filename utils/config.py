"""Settings from YAML files, which hold only what differs from the defaults, and key=value overrides last."""

import dataclasses
import difflib
import os
import re
import types
import typing
from pathlib import Path

import yaml

from .settings import Config, check, fields, shown, to_plain

RETIRED = (("train", "compile"), ("test", "graphs"), ("test", "engine"))  # in older checkpoints; none changed a result


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
    config = config if config.run else dataclasses.replace(config, run=Path(path).stem)
    check(config)
    return config


def from_plain(values):
    """A Config of a checkpoint's nested plain values; those of RETIRED settings are left out."""
    sections = {key: dict(value) if isinstance(value, dict) else value for key, value in values.items()}
    for section, key in RETIRED:
        sections.get(section, {}).pop(key, None)
    return build(Config, sections)


def to_yaml(config):
    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)


class Loader(yaml.SafeLoader):
    """Safe YAML in which a key given twice is an error, and 1e-4 is a number."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), "-+0123456789")
UNREADABLE = (yaml.YAMLError, RecursionError, ValueError)  # ValueError: a date such as 2020-13-45


def read_yaml(path, seen=()):
    """The nested values of a file over those of its `base`, which is found relative to the file."""
    path = Path(path)
    if path.resolve() in seen:
        raise ValueError(f"{path}: base leads back to itself")
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=Loader)
    except FileNotFoundError:
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1, 0.4)
        hint = f", did you mean {path.parent / near[0]}?" if near else ": give a YAML file, such as configs/demo.yaml"
        raise ValueError(f"settings file {path} does not exist{hint}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"settings file {path} cannot be read: {getattr(error, 'strerror', error)}") from None
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
    merged = read_yaml(path.parent / Path(str(base)).expanduser(), (*seen, path.resolve()))
    for key, value in values.items():
        sections = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = {**merged[key], **value} if sections else value
    return merged


def put(values, keys, value, dotted):
    for key in keys[:-1]:
        section = values.get(key, {})
        if not isinstance(section, dict):
            raise ValueError(f"unknown setting {dotted}: {key} is a value, not a section")
        values[key] = values = dict(section)  # a copy: an anchor in the file may share it with another section
    values[keys[-1]] = value


def build(kind, values, prefix=""):
    """A dataclass from a nested dict, each value checked against its field's type."""
    if not isinstance(values, dict):
        raise ValueError(f"{prefix[:-1]} is a section of settings, got {shown(values)}")
    hints, made = typing.get_type_hints(kind), {}
    for key, value in values.items():
        dotted = f"{prefix}{key}"
        if key not in hints:
            raise ValueError(f"unknown setting {dotted:.100}{suggestion(dotted)}")
        section = dataclasses.is_dataclass(hints[key])
        made[key] = build(hints[key], value, f"{key}.") if section else convert(value, hints[key], dotted)
    return kind(**made)


def suggestion(dotted):
    keys = [key for key, _, _ in fields(Config())]
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
    """The value as its field's type; raises ValueError naming the setting."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    items = tuple(value) if isinstance(value, (list, tuple)) else ()
    for option in options:
        if value in choices(option) or (option is types.NoneType and value is None):
            return value
        if option is bool and isinstance(value, bool):
            return value
        if option is float and number or option is int and number and value % 1 == 0:
            return option(value)
        if option is str and (number or isinstance(value, str)):
            return os.path.expanduser(value) if str(value).startswith("~/") else str(value)
        if option == tuple[str, ...] and items and all(isinstance(item, str) for item in items):
            return items
        if option == tuple[float, float] and len(items) == 2 and all(isinstance(item, (int, float)) for item in items):
            return tuple(map(float, items))
    wanted = [TYPES.get(option) or f"one of {', '.join(choices(option))}" for option in options]
    raise ValueError(f"{dotted} must be {' or '.join(wanted)}, got {shown(value)}")


def choices(hint):
    """The values of a Literal type; () for any other type."""
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
