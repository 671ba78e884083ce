"""Shared by all figures: colors, an empty canvas, and saving."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from mmengine.visualization import Visualizer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colors, which color-blind readers can distinguish.
COLORS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000')
# From dark to bright, also without color vision and in print.
COLOR_MAP = 'cividis'
DPI = 150

BACKENDS = dict(
    local='LocalVisBackend', tensorboard='TensorboardVisBackend', wandb='WandbVisBackend', mlflow='MLflowVisBackend'
)


def new_figure(width: float, height: float) -> Figure:
    """Create an empty figure of a size in inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def pixels(figure: Figure) -> np.ndarray:
    """Return a figure as an RGB image ``(H, W, 3)`` of uint8."""
    figure.set_dpi(DPI)
    figure.canvas.draw()
    rgba = figure.canvas.buffer_rgba()  # type: ignore[attr-defined]
    return np.ascontiguousarray(np.asarray(rgba)[..., :3])


def publish(figures: dict[str, Figure], folder: str | Path, backends: Sequence[str] = ()) -> list[Path]:
    """Save figures, and send them to experiment trackers through MMEngine's visualizer.

    Args:
        figures (dict): Figures by name.
        folder (str | Path): Folder for ``NAME.png`` and the backends' files.
        backends (sequence): Names from ``BACKENDS``. Defaults to none.

    Returns:
        list: The files.

    Raises:
        ValueError: If a backend is unknown, or its package is missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    unknown = [backend for backend in backends if backend not in BACKENDS]
    if unknown:
        raise ValueError(f'unknown backend {unknown[0]!r}. Expected one of {", ".join(BACKENDS)}')
    visualizers = [
        Visualizer(vis_backends=[dict(type=BACKENDS[backend])], save_dir=str(folder)) for backend in backends
    ]
    files = []
    for name, figure in figures.items():
        files.append(folder / f'{name}.png')
        figure.savefig(files[-1], dpi=DPI)
        for backend, visualizer in zip(backends, visualizers):
            try:
                visualizer.add_image(name, pixels(figure))
            except ImportError as error:
                raise ValueError(f'backend {backend!r} cannot be used here: {error}') from error
    for visualizer in visualizers:
        visualizer.close()
    return files
