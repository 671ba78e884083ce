"""Tables of the lines, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tas_mm.analysis.tables import markdown

from .lines import FAILED, Line

BEGIN, END = '<!-- results: begin -->', '<!-- results: end -->'
"""Marks around the tables in docs/gpu.md."""
REHEARSAL = '**A rehearsal on a CPU. No figure here is from a GPU, and none says anything of one.**'


def on_gpu(line: Line) -> bool:
    """Return whether a line is a figure of a GPU, in full size."""
    return not line['device'].endswith('CPU') and not line['tiny']


def tables(lines: Iterable[Line]) -> str:
    """Write a table for each kind of part, and what did not work as it was printed.

    Args:
        lines (iterable): Lines, each part once.
    """
    lines = list(lines)
    text = [] if all(map(on_gpu, lines)) else [REHEARSAL]
    for place in dict.fromkeys((line['device'], str(line['versions'])) for line in lines):
        here = [line for line in lines if (line['device'], str(line['versions'])) == place]
        packages = ', '.join(f'{name} {number}' for name, number in here[0]['versions'].items())
        text.append(f'{place[0]}; {packages}.')
        for kind in dict.fromkeys(line['kind'] for line in here):
            text += _section(kind, [line for line in here if line['kind'] == kind])
    return '\n\n'.join(text) + '\n'


def _section(kind: str, lines: list[Line]) -> list[str]:
    rows = [{**line['options'], **row} for line in lines for row in line.get('rows', ())]
    header = [*dict.fromkeys(name for row in rows for name in row)]
    text = [f'### {kind}', '```text\n' + '\n'.join(dict.fromkeys(line['command'] for line in lines)) + '\n```']
    if rows:
        shown = [name.replace('_', ' ').replace('x ', '× ') for name in header]
        text.append(markdown(shown, [tuple(_cell(row.get(name, '')) for name in header) for row in rows]))
    for line in lines:
        if line['state'] == FAILED:
            text.append(f'`{line["part"]}` did not work:\n\n```text\n{line["error"].strip()}\n```')
    return text


def _cell(value: Any) -> str:
    return f'{value:.4g}' if isinstance(value, float) else str(value)


def write_page(page: Path, raw: Path, lines: Iterable[Line]) -> int:
    """Put the tables of a GPU's lines between the marks of a page, and return how many lines there were.

    Args:
        page (Path): The page.
        raw (Path): File for the lines themselves.
        lines (iterable): Lines; those of a rehearsal are left out.

    Raises:
        ValueError: If no line is from a GPU.
    """
    found = [line for line in lines if on_gpu(line)]
    if not found:
        raise ValueError(f'{page}: none of the lines is from a GPU; figures of a rehearsal are not shown there')
    before, rest = page.read_text().split(BEGIN)
    after = rest.split(END)[1]
    page.write_text(f'{before}{BEGIN}\n\n{tables(found)}\n{END}{after}')
    raw.write_text(''.join(f'{json.dumps(line)}\n' for line in found))
    return len(found)
