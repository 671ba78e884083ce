"""Format rows of cells as text or as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Rows = list[tuple[str, ...]]


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows as text in columns."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return '\n'.join('  ' + '  '.join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows as a Markdown table."""
    lines = [tuple(header), ('---',) * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines)
