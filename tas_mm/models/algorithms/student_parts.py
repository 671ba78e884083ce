"""Parts of the student under the names that they have without a distillation, for hooks that change them."""

from __future__ import annotations

from typing import Any

from torch import nn

OWN = ('architecture', 'teacher', 'distiller', 'data_preprocessor')
"""What a distillation has itself, whatever the student has under these names."""


class StudentParts(nn.Module):
    """Gives and sets the student's sub-modules, such as ``head`` or ``loss_module``, as if they were its own.

    Hooks reach into ``runner.model.head`` and the like. The distillation registers none of these modules a second time.
    """

    def _student_part(self, name: str) -> nn.Module | None:
        student = self.__dict__.get('_modules', {}).get('architecture')
        return None if student is None or name in OWN or name not in student._modules else student

    def __getattr__(self, name: str) -> Any:
        """Return a part of the student if the distillation has nothing of that name."""
        student = None if name in OWN else self._student_part(name)
        return super().__getattr__(name) if student is None else getattr(student, name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a part of the student.

        Raises:
            ValueError: If the preprocessor is exchanged, by which the teacher's images are normalized.
        """
        student = self._student_part(name)
        if student is not None:
            setattr(student, name, value)
            return
        built = self.__dict__.get('_modules', {})
        if name == 'data_preprocessor' and 'teacher' in built and value is not built[name]:
            raise ValueError(
                'model.data_preprocessor was exchanged after the model was built, by a hook perhaps, but the images of '
                'model.teacher are normalized by the one before. Set data_preprocessor in the config'
            )
        super().__setattr__(name, value)
