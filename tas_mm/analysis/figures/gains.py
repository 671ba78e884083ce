"""Figure of the gain of each method over the student alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from .canvas import COLORS

if TYPE_CHECKING:
    from ..benchmark.results import Results

MARKERS = 'os^Dv<>p*X'


def draw_gains(results: Results, path: str | Path) -> None:
    """Draw the gain of each method over the student alone, for each pair, and the mean over pairs with its spread.

    Args:
        results (Results): Finished runs of a setting.
        path (str | Path): File to write, in the format of its extension.
    """
    import matplotlib

    matplotlib.use('Agg')
    import matplotlib.pyplot as plt

    from ..benchmark.results import ALONE

    gains = {method: gain for method in results.methods if method != ALONE and (gain := results.gain(method))}
    methods = sorted(gains, key=lambda method: gains[method].mean)
    if not methods:
        return
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.42 * len(methods)), layout='constrained')
    for i, pair in enumerate(results.pairs):
        points = [(j, results.pair_gain(method, pair)) for j, method in enumerate(methods)]
        points = [(j, gain) for j, gain in points if gain is not None]
        axes.plot(
            [gain for _, gain in points],
            [j for j, _ in points],
            linestyle='',
            marker=MARKERS[i % len(MARKERS)],
            markersize=5,
            color=COLORS[i % len(COLORS)],
            alpha=0.7,
            label=pair.replace('_', ' '),
        )
    axes.errorbar(
        [gains[method].mean for method in methods],
        range(len(methods)),
        xerr=[gains[method].spread for method in methods],
        linestyle='',
        marker='|',
        markersize=18,
        markeredgewidth=2.5,
        color='black',
        capsize=4,
        label='mean of the pairs,\nstandard deviation over seeds',
    )
    axes.axvline(0, color='grey', linewidth=1)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(-0.6, len(methods) - 0.4)
    axes.set_xlabel('gain over the student alone (points of top-1 accuracy)')
    axes.grid(axis='x', alpha=0.3)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.0, 0.5))
    figure.savefig(path, dpi=150)
    plt.close(figure)
