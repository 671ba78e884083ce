"""Finished runs of a suite as tables: accuracy, gain over the student alone, costs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..tables import markdown

ALONE = 'alone'
"""Name of the method that trains the student alone, the baseline for gains."""

METRIC = 'accuracy/top1'


@dataclass
class Cell:
    """Mean and standard deviation over seeds, in percent."""

    mean: float
    spread: float
    seeds: int

    def text(self, seeds: int, sign: str = '') -> str:
        """Format the mean, with the deviation over seeds, and the number of seeds if the table has more."""
        spread = f' ± {self.spread:.2f}' if self.seeds > 1 else ''
        return f'{self.mean:{sign}.2f}{spread}' + (f' ({self.seeds})' if self.seeds != seeds else '')


def cell_of(by_seed: dict[int, float]) -> Cell | None:
    """Compute mean and sample standard deviation (0 for a single value). Return None without values."""
    values = np.array(list(by_seed.values()), dtype=float)
    return Cell(values.mean(), values.std(ddof=1) if len(values) > 1 else 0.0, len(values)) if len(values) else None


def paired(values: dict[int, float], others: dict[int, float]) -> Cell | None:
    """Compute mean and deviation of the differences by seed. Return None if no seed has both values."""
    return cell_of({seed: values[seed] - others[seed] for seed in values if seed in others})


class Results:
    """Finished runs of one setting, by method and pair.

    Args:
        rows (sequence): Rows of a :class:`~tas_mm.analysis.benchmark.suite.Suite`.
        setting (str): Name of the setting.
    """

    def __init__(self, rows: Sequence[dict], setting: str) -> None:
        self.rows = [row for row in rows if row['setting'] == setting]
        self.methods = list(dict.fromkeys(row['method'] for row in self.rows))
        self.pairs = list(dict.fromkeys(row['pair'] for row in self.rows))
        self.seeds = len({row['seed'] for row in self.rows})

    def of(self, method: str, pair: str, key: str = METRIC) -> dict[int, float]:
        """Return a metric by seed."""
        return {
            row['seed']: row['metrics'][key]
            for row in self.rows
            if row['method'] == method and row['pair'] == pair and key in row['metrics']
        }

    def means(self, method: str, key: str = METRIC) -> dict[int, float]:
        """Return the mean over all pairs by seed, for the seeds that have all pairs."""
        by_pair = [self.of(method, pair, key) for pair in self.pairs]
        seeds = set.intersection(*map(set, by_pair)) if by_pair else set()
        return {seed: float(np.mean([values[seed] for values in by_pair])) for seed in sorted(seeds)}

    def gain(self, method: str) -> Cell | None:
        """Return the gain over the student alone of the mean over pairs, paired by seed."""
        return paired(self.means(method), self.means(ALONE))

    def pair_gain(self, method: str, pair: str) -> float | None:
        """Return the mean gain over the student alone on one pair."""
        gain = paired(self.of(method, pair), self.of(ALONE, pair))
        return gain.mean if gain else None

    def _texts(self, cells: Sequence[Cell | None], sign: str = '') -> list[str]:
        return [each.text(self.seeds, sign) if each else '-' for each in cells]

    def accuracy_table(self) -> tuple[list[str], list[list[str]]]:
        """Tabulate accuracy by method and pair, the mean over pairs, the gain over the student alone, and the rank.

        A method with fewer seeds than the table shows their number, and does not get a rank.
        """
        gains = {method: self.gain(method) for method in self.methods}
        whole = [method for method, gain in gains.items() if gain and gain.seeds == self.seeds]
        order = sorted(whole, key=lambda method: -gains[method].mean)
        lines = []
        for method in self.methods:
            cells = [cell_of(self.of(method, pair)) for pair in self.pairs] + [cell_of(self.means(method))]
            rank = str(1 + order.index(method)) if method in order else '-'
            lines.append([method, *self._texts(cells), *self._texts([gains[method]], '+'), rank])
        return ['method', *self.pairs, 'mean', f'gain over {ALONE}', 'rank'], lines

    def gain_table(self) -> tuple[list[str], list[list[str]]]:
        """Tabulate the mean gain over the student alone by method and pair, and its mean over pairs with the spread."""
        wholes = {method: self.gain(method) for method in self.methods if method != ALONE}
        lines = []
        for method, whole in sorted(wholes.items(), key=lambda item: -item[1].mean if item[1] else 0):
            gains = [paired(self.of(method, pair), self.of(ALONE, pair)) for pair in self.pairs]
            if any(gains):
                seeds = min(gain.seeds for gain in gains if gain)
                texts = [f'{gain.mean:+.2f}' if gain else '-' for gain in gains]
                lines.append([method, *texts, whole.text(whole.seeds, '+') if whole else '-', str(seeds)])
        return ['method', *self.pairs, 'mean', 'seeds'], lines

    def assistant_table(self) -> tuple[list[str], list[list[str]]]:
        """Tabulate the accuracy of the assistants, for the methods that have one."""
        lines = []
        for method in self.methods:
            cells = [cell_of(self.of(method, pair, f'assistant.{METRIC}')) for pair in self.pairs]
            if any(cells):
                lines.append([method, *self._texts(cells)])
        return ['assistant of', *self.pairs], lines

    def paired_table(self, method: str) -> tuple[list[str], list[list[str]]]:
        """Tabulate the gain of a method over each other method, by pair and over all pairs, paired by seed."""
        lines = []
        for other in self.methods:
            if other != method:
                cells = [paired(self.of(method, pair), self.of(other, pair)) for pair in self.pairs]
                cells.append(paired(self.means(method), self.means(other)))
                lines.append([other, *self._texts(cells, '+')])
        return [f'{method} minus', *self.pairs, 'mean'], lines

    def cost_table(self, reference: str = 'kd') -> tuple[list[str], list[list[str]]]:
        """Tabulate medians of seconds per step, peak memory and added parameters, with ratios of time and memory.

        Time and memory are those of runs of this machine.
        """
        lines = []
        here = [row for row in self.rows if not row.get('elsewhere')]
        for method in self.methods:
            values = [row for row in here if row['method'] == method]
            line = [method]
            for key, form in (('seconds_per_step', '{:.3f}'), ('peak_mib', '{:.0f}')):
                line.append(form.format(np.median([row[key] for row in values])) if values else '-')
                ratios = [
                    row[key] / other[key]
                    for row in values
                    for other in here
                    if other['method'] == reference and (other['pair'], other['seed']) == (row['pair'], row['seed'])
                ]
                line.append(f'{np.median(ratios):.2f}' if ratios else '-')
            added = [row['added_parameters'] for row in self.rows if row['method'] == method]
            lines.append([*line, f'{np.median(added):,.0f}'])
        return ['method', 's/step', f'x {reference}', 'peak MiB', f'x {reference}', 'added parameters'], lines


def settings_table(rows: Sequence[dict], settings: Sequence[str], method: str) -> tuple[list[str], list[list[str]]]:
    """Tabulate the gain of a method over each other method by setting: the mean over all pairs, paired by seed.

    A column's name shows the most seeds of its setting, and a cell its own where it has fewer.

    Args:
        rows (sequence): Rows of a :class:`~tas_mm.analysis.benchmark.suite.Suite`.
        settings (sequence): Names of the settings, one column each.
        method (str): Method that is compared with the others.
    """
    all_results = [Results(rows, setting) for setting in settings]
    others = dict.fromkeys(other for results in all_results for other in results.methods if other != method)
    lines = []
    for other in others:
        cells = [(paired(results.means(method), results.means(other)), results.seeds) for results in all_results]
        if any(cell for cell, _ in cells):
            lines.append([other, *(cell.text(seeds, '+') if cell else '-' for cell, seeds in cells)])
    header = [f'{name} ({results.seeds})' for name, results in zip(settings, all_results, strict=True)]
    return [f'{method} minus', *header], lines


def fill_page(text: str, rows: Sequence[dict], compare: str) -> str:
    """Write tables of the results into a page, between ``<!-- TABLE: SETTING -->`` and ``<!-- end -->``.

    Args:
        text (str): Text of the page. TABLE is one of accuracy, gain, assistant, paired, cost, and settings, which takes
            several settings. A table without a row in any of its settings stays as it is, so suites can share a page.
        rows (sequence): Rows of a :class:`~tas_mm.analysis.benchmark.suite.Suite`.
        compare (str): Method that the tables paired and settings compare with the others.
    """
    known = {row['setting'] for row in rows}

    def filled(match: re.Match) -> str:
        table, settings = match[1], match[2].split()
        if known.isdisjoint(settings):
            return match[0]
        if table == 'settings':
            header, lines = settings_table(rows, settings, compare)
        else:
            results = Results(rows, *settings)
            header, lines = getattr(results, f'{table}_table')(*([compare] if table == 'paired' else []))
        return f'<!-- {table}: {match[2]} -->\n\n{markdown(header, lines)}\n<!-- end -->'

    tables = 'accuracy|gain|assistant|paired|cost|settings'
    return re.sub(rf'<!-- ({tables}): ([\w ]+) -->.*?<!-- end -->', filled, text, flags=re.DOTALL)
