"""Reads the small files of a run folder, JSON and YAML, within bounds: such a folder may come from somebody else.

A file is text of at most 64 MB (JSON) or 4 MB (YAML), at most 64 levels deep, and has no YAML aliases, by which a few
hundred bytes stand for as much memory as there is. No record of ours comes near the bounds.
"""

import json
import os
import stat
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any

import yaml

from ncbench.records.errors import BadRecordsError as BadRecordsError

__all__ = [
    "MOST_JSON",
    "MOST_YAML",
    "BadRecordsError",
    "open_regular",
    "read_bytes",
    "read_json",
    "read_text",
    "read_yaml",
    "yaml_text",
]

MOST_JSON, MOST_YAML = 64 * 2**20, 4 * 2**20  # bytes; run.json with 10^5 digests has 11 MB
DEEPEST = 64


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises BadRecordsError, naming the file, where it cannot be parsed within bounds."""
    text = read_text(path, MOST_JSON)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise BadRecordsError(f"{path} is not valid JSON ({error})") from None
    except RecursionError:
        raise BadRecordsError(_too_deep(path)) from None
    _check_depth(content, path)
    return content


def read_yaml(path: Path) -> Any:
    """The content of a YAML file. Raises BadRecordsError, naming the file, where it cannot be parsed within bounds."""
    text = yaml_text(read_text(path, MOST_YAML), path)
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, TypeError) as error:  # such as the date 2000-13-45, or a list as a key
        raise BadRecordsError(f"{path} is not valid YAML ({' '.join(str(error).split())[:300]})") from None


def read_text(path: Path, most: int) -> str:
    """A file's text. Raises as `read_bytes`, and BadRecordsError where it is not UTF-8."""
    try:
        return read_bytes(path, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordsError(f"{path} is not UTF-8 text ({error.reason} at byte {error.start})") from None


def read_bytes(path: Path, most: int) -> bytes:
    """A file's content. Raises as `open_regular`, and BadRecordsError where it has more bytes than `most`."""
    with open_regular(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise BadRecordsError(f"{path} has more than {most // 2**20} MB, which no such file needs")
    return content


def open_regular(path: Path) -> BufferedReader:
    """A file to be read, which has an end and is not waited for. Raises BadRecordsError where it is no regular file.

    FileNotFoundError and its like are left as they are.
    """
    # A pipe without a writer would be waited for, and a device such as /dev/zero never ends.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):  # asked before Python opens it, which names a folder by its number
        os.close(handle)
        raise BadRecordsError(f"{path} is no regular file")
    return open(handle, "rb")


def yaml_text(text: str, path: Path) -> str:
    """The same text, which may be parsed: BadRecordsError where it has aliases or is nested too deeply.

    Parsed to events alone, of which none is larger than what stands in the file, and without recursion.
    """
    depth = 0
    if not _may_be_deep(text):
        return text
    try:
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise BadRecordsError(f"{path} has the alias *{event.anchor} in line {line}; a record has no aliases")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise BadRecordsError(_too_deep(path))
    except yaml.YAMLError as error:
        raise BadRecordsError(f"{path} is not valid YAML ({' '.join(str(error).split())[:300]})") from None
    return text


def _may_be_deep(text: str) -> bool:
    """Whether text may have an alias, which follows an anchor, or be nested too deeply: most records can do neither."""
    # Every level of a flow collection opens a bracket, every level of a block is a column or a dash further right.
    brackets = text.count("[") + text.count("{")
    indented = max((len(line) - len(line.lstrip(" -?")) for line in text.splitlines()), default=0)
    return "&" in text or brackets + indented >= DEEPEST


def _check_depth(content: Any, path: Path) -> None:
    level = [content]
    for _ in range(DEEPEST + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, Mapping):
                below.extend(part for part in value.values() if isinstance(part, dict | list))
            elif isinstance(value, list):
                below.extend(part for part in value if isinstance(part, dict | list))
        if not below:
            return
        level = below
    raise BadRecordsError(_too_deep(path))


def _too_deep(path: Path) -> str:
    return f"{path} is nested more than {DEEPEST} levels deep, which no record is"
