"""Settings from YAML files, which hold only what differs from the defaults, and key=value overrides last."""

import copy
import dataclasses
import difflib
import os
import re
import types
import typing
from pathlib import Path

import yaml

from .settings import Config, check, fields, to_plain

# Settings of older checkpoints that are gone.
RETIRED = ("train.compile", "test.graphs", "test.engine", "test.self_ensemble")


def load_config(path, overrides=()):
    """Read a YAML file, the files it names as `base`, and key=value overrides into a checked Config."""
    values = read_yaml(path)
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise ValueError(f"{override!r:.100} is not key=value, for example train.steps=1000")
        try:
            value = yaml.load(text, Loader=Loader)
        except UNREADABLE:
            raise ValueError(f"{override!r:.100}: the value cannot be read, put it in quotes") from None
        for name in reversed(key.strip().split(".")):
            value = {name: value}
        values = merged(values, value)
    config = build(Config, values)
    config = config if config.run else dataclasses.replace(config, run=Path(path).stem)
    check(config)
    return config


def from_plain(values):
    """A Config of a checkpoint's nested plain values. Settings that the checkpoint lacks get their defaults."""
    values = copy.deepcopy(values)
    for section, key in (dotted.split(".") for dotted in RETIRED):
        values.get(section, {}).pop(key, None)
    return build(Config, values)


def to_yaml(config):
    return yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)


class Loader(yaml.SafeLoader):
    """Safe YAML in which 1e-4 is a number."""


Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+[eE][-+]?[0-9]+$"), "-+0123456789")
UNREADABLE = (yaml.YAMLError, ValueError)  # ValueError: other bytes than UTF-8, or a date 2020-13-45


def read_yaml(path):
    """The nested values of a file over those of its `base`, which is found relative to the file."""
    path = Path(path)
    if not path.exists():
        near = difflib.get_close_matches(path.name, [p.name for p in path.parent.glob("*.yaml")], 1, 0.4)
        hint = f", did you mean {path.parent / near[0]}?" if near else ": give a YAML file, such as configs/demo.yaml"
        raise ValueError(f"settings file {path} does not exist{hint}")
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=Loader) or {}
    except UNREADABLE as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{path}{line} is not valid YAML: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}, not settings such as 'train: {{steps: 1000}}'")
    base = values.pop("base", None)
    return merged(read_yaml(path.parent / Path(str(base)).expanduser()), values) if base else values


def merged(old, new):
    """The nested values of both; where both have one, the new one."""
    inner = {k: merged(old[k], v) for k, v in new.items() if isinstance(v, dict) and isinstance(old.get(k), dict)}
    return {**old, **new, **inner}


def build(kind, values, prefix=""):
    """A dataclass from a nested dict, each value checked against its field's type."""
    if not isinstance(values, dict):
        raise ValueError(f"{prefix[:-1]} is a section of settings, got {values!r:.100}")
    hints, made = typing.get_type_hints(kind), {}
    for key, value in values.items():
        if key not in hints:
            raise ValueError(f"unknown setting {prefix}{key}{suggestion(f'{prefix}{key}')}")
        section = dataclasses.is_dataclass(hints[key])
        made[key] = build(hints[key], value, f"{key}.") if section else convert(value, hints[key], f"{prefix}{key}")
    return kind(**made)


def suggestion(dotted):
    keys = [key for key, _, _ in fields(Config())]
    same_name = [key for key in keys if key.split(".")[-1] == dotted.split(".")[-1]]
    sections = [key.split(".")[0] for key in keys]
    near = same_name or difflib.get_close_matches(dotted, [*sections, *keys], 1, 0.5)
    return f": did you mean {near[0]}?" if near else ": see utils/settings.py for all settings"


def convert(value, hint, dotted):
    """The value as its field's type; raises ValueError naming the setting."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    items = tuple(value) if isinstance(value, (list, tuple)) else ()
    for option in options:
        if value in choices(option) or (option in (bool, types.NoneType) and isinstance(value, option)):
            return value
        if option is float and number or option is int and number and value % 1 == 0:
            return option(value)
        if option is str and (number or isinstance(value, str)):
            return os.path.expanduser(value) if str(value).startswith("~/") else str(value)
        if option == tuple[str, ...] and items and all(isinstance(item, str) for item in items):
            return items
        if option == tuple[float, float] and len(items) == 2 and all(isinstance(item, (int, float)) for item in items):
            return tuple(map(float, items))
    names = {types.NoneType: "null", tuple[str, ...]: "a list of strings", tuple[float, float]: "a list of two floats"}
    wanted = [names.get(o) or (f"one of {', '.join(choices(o))}" if choices(o) else o.__name__) for o in options]
    raise ValueError(f"{dotted} must be {' or '.join(wanted)}, got {value!r:.100}")


def choices(hint):
    """The values of a Literal type; () for any other type."""
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
