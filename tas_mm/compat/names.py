"""Classifiers of MMPretrain that rename their weights: ``TimmClassifier`` and ``HuggingFaceClassifier``.

They drop ``model.`` from the names on saving, so that their library can load the file, and put it back on loading. On
saving they hand back a new dict, which counts for the outermost module only. Inside another module, such as a student
in a distillation, the names stay as they are but get a second ``model.`` on loading: no weight is found again, and
MMEngine only warns. Renaming in place works at any depth.
"""

from __future__ import annotations

from typing import Any


def adapt(adapted: dict[str, str]) -> None:
    """Rename in place if the original does not."""
    from mmpretrain.models.classifiers import HuggingFaceClassifier, TimmClassifier

    for classifier in (TimmClassifier, HuggingFaceClassifier):
        state = {'student.model.weight': 0}
        classifier._remove_state_dict_prefix(None, state, 'student.', {})
        if 'student.weight' not in state:
            classifier._remove_state_dict_prefix = staticmethod(_drop_model)
            adapted['mmpretrain'] = 'timm and Hugging Face classifiers keep their weights inside other modules'


def _drop_model(module: Any, state_dict: dict, prefix: str, local_metadata: dict) -> dict:
    inner = f'{prefix}model.'
    for key in [key for key in state_dict if key.startswith(inner)]:
        state_dict[prefix + key.removeprefix(inner)] = state_dict.pop(key)
    return state_dict
