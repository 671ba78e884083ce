"""Expose the student's modules under the names they have without distillation, for hooks that change them."""

from __future__ import annotations

from typing import Any

from torch import nn

OWN = ('architecture', 'teacher', 'distiller', 'data_preprocessor')
"""Names that belong to the distillation itself, even if the student has a module of that name."""


class StudentParts(nn.Module):
    """Delegates access to sub-modules such as ``head`` or ``loss_module`` to the student.

    Hooks reach into ``runner.model.head`` and the like. The modules are not registered a second time.
    """

    def _student_part(self, name: str) -> nn.Module | None:
        student = self.__dict__.get('_modules', {}).get('architecture')
        return None if student is None or name in OWN or name not in student._modules else student

    def __getattr__(self, name: str) -> Any:
        """Return a part of the student if the distillation has no attribute of that name."""
        student = None if name in OWN else self._student_part(name)
        return super().__getattr__(name) if student is None else getattr(student, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a part of the student.

        Raises:
            ValueError: If the preprocessor is replaced. It also normalizes the teacher's images.
        """
        student = self._student_part(name)
        if student is not None:
            setattr(student, name, value)
            return
        built = self.__dict__.get('_modules', {})
        if name == 'data_preprocessor' and 'teacher' in built and value is not built[name]:
            raise ValueError(
                'model.data_preprocessor was replaced after the model was built, perhaps by a hook, but the images of '
                'model.teacher are normalized by the first one. Set data_preprocessor in the config'
            )
        super().__setattr__(name, value)
