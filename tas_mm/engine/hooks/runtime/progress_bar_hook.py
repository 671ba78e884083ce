"""Progress bar with the remaining time, shown in a terminal only. Elsewhere the log lines have the ETA."""

from __future__ import annotations

import atexit
import logging
import sys

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tas_mm.registry import HOOKS


@HOOKS.register_module()
class ProgressBarHook(Hook):
    """Show training steps done, elapsed time and remaining time.

    Args:
        title (str): Text before the bar. Defaults to ``'training'``.
    """

    priority = 'VERY_LOW'

    def __init__(self, title: str = 'training') -> None:
        self.title = title
        self.progress: Progress | None = None

    def before_train(self, runner: Runner) -> None:
        """Start the bar, and print log lines above it."""
        console = Console()
        if not (is_main_process() and console.is_terminal):
            return
        self.progress = Progress(
            TextColumn('{task.description}'),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn('steps, spent'),
            TimeElapsedColumn(),
            TextColumn('left'),
            TimeRemainingColumn(),
            console=console,
        )
        self.progress.start()
        atexit.register(self.progress.stop)  # restore the terminal if the run fails or is interrupted
        self.task = self.progress.add_task(self.title, total=runner.max_iters, completed=runner.iter)
        self._stream_logs_to(sys.stdout)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Advance the bar by one step."""
        if self.progress is not None:
            self.progress.advance(self.task)

    def after_train(self, runner: Runner) -> None:
        """Stop the bar and leave it on the screen."""
        if self.progress is not None:
            self.progress.stop()
            self._stream_logs_to(sys.stdout)
            self.progress = None

    @staticmethod
    def _stream_logs_to(stream) -> None:
        # The bar replaces sys.stdout while it is shown, but a handler keeps the stream that it was created with.
        for handler in MMLogger.get_current_instance().handlers:
            if type(handler) is logging.StreamHandler:
                handler.setStream(stream)
