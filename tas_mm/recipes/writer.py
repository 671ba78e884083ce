"""Write a config as readable and editable Python."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any

from mmengine.config import Config

LINE = 118
"""Maximum length of a line."""


class Name(str):
    """Name of a variable in a written config."""

    __repr__ = str.__str__


def python_source(value: Any, indent: int = 0, used: int = 0) -> str:
    """Format a value as Python: on one line if it fits, else with one item per line.

    Args:
        value: Nested dicts, lists, tuples and plain values. :class:`Name` stands for a variable.
        indent (int): Spaces before each line. Defaults to 0.
        used (int): Characters before the value on its first line. Defaults to 0.

    Examples:
        >>> python_source(dict(type='SGD', model=Name('student')))
        "dict(type='SGD', model=student)"
    """
    inner = ' ' * (indent + 4)
    if isinstance(value, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in value):
        items = [(f'{key}=', item) for key, item in value.items()]
        ends = 'dict(', ')'
    elif isinstance(value, Mapping):
        items = [(f'{key!r}: ', item) for key, item in value.items()]
        ends = '{', '}'
    elif isinstance(value, (list, tuple)):
        items = [('', item) for item in value]
        ends = ('[', ']') if isinstance(value, list) else ('(', ',)' if len(value) == 1 else ')')
    else:
        return repr(value)
    line = ends[0] + ', '.join(key + python_source(item, 0, -(10**9)) for key, item in items) + ends[1]
    if indent + used + len(line) <= LINE:
        return line
    lines = [f'{inner}{key}{python_source(item, indent + 4, len(key))},\n' for key, item in items]
    return f'{ends[0]}\n{"".join(lines)}{" " * indent}{ends[1][-1]}'


def write_config(path: str | Path, parts: Mapping[str, Mapping[str, Any]], title: str) -> Path:
    """Write a config part by part, and check that it can be read.

    Args:
        path (str | Path): The file.
        parts (mapping): Settings of each part by its comment.
        title (str): First line of the file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = f'"""{title}"""\n'
    for comment, settings in parts.items():
        text += f'\n# {comment}\n'
        text += ''.join(f'{key} = {python_source(value, 0, len(key) + 3)}\n' for key, value in settings.items())
    path.write_text(text)
    Config.fromfile(path)
    return path


def write_same_config(path: Path, parts: Mapping[str, Mapping[str, Any]], title: str, resume: bool) -> Path:
    """Write a config. If the run is resumed, check that its previous config was the same.

    Args:
        path (Path): The file.
        parts (mapping): As in :func:`write_config`.
        title (str): First line of the file.
        resume (bool): Whether the run is resumed.

    Raises:
        ValueError: If the previous config differs. It stays as it is.
    """
    before = path.read_text() if resume and path.is_file() else None
    write_config(path, parts, title)
    if before not in (None, after := path.read_text()):
        path.write_text(before)
        lines = zip_longest(before.splitlines(), after.splitlines(), fillvalue='')
        was, now = next((was.strip(), now.strip()) for was, now in lines if was != now)
        raise ValueError(
            f'--resume: {path} has {was!r}, but these options give {now!r}. Expected the options that the run began '
            f'with. Resume an edited config with tools/train.py {path} --resume'
        )
    return path
