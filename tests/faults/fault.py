"""One fault: a small patch, the tests that must catch it, and why a user would care."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Fault:
    """A fault that somebody could make.

    Attributes:
        name: What is wrong, in a few words.
        file: The file, relative to the root.
        old: Text that is in the file once.
        new: Text in its place.
        tests: The test that must catch it, or several: node ids of pytest, relative to ``tests``.
        harm: What a user would get.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str | tuple[str, ...]
    harm: str

    @property
    def nodes(self) -> list[str]:
        """Node ids of its tests, relative to the root."""
        return [f'tests/{node}' for node in ((self.tests,) if isinstance(self.tests, str) else self.tests)]

    def why_not(self, root: Path = ROOT) -> str | None:
        """Say why the patch does not apply to a tree; None if it does."""
        path = root / self.file
        count = path.read_text().count(self.old) if path.is_file() else 0
        if count != 1:
            return f'{self.file} has its old text {count} times. Expected once'
        return 'its old and new text are the same' if self.old == self.new else None

    def plant(self, root: Path) -> str:
        """Apply the patch to a tree, and return the file as it was."""
        path = root / self.file
        before = path.read_text()
        path.write_text(before.replace(self.old, self.new))
        return before
