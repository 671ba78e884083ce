"""Two faults of the classifiers by which MMPretrain takes in timm's and Hugging Face's networks.

Names: they drop ``model.`` from the names of their weights on saving, so that the library can load the file, and put it
back on loading. On saving they hand back a new dict, which counts for the outermost module only. Inside another module,
such as a student in a distillation, the names stay as they are but get a second ``model.`` on loading: no weight is
found again, and MMEngine only warns. Renaming in place works at any depth.

Trained weights: with ``pretrained=True`` they load them as they are built, and MMEngine's runner then calls
``init_weights()``, which draws new ones over them. ``TIMMBackbone`` marks itself as initialised; so must these two.
"""

from __future__ import annotations

import functools
from typing import Any


def adapt(adapted: dict[str, str]) -> None:
    """Rename in place if the original does not; keep the trained weights of timm's networks."""
    from mmpretrain.models.classifiers import HuggingFaceClassifier, TimmClassifier

    for classifier in (TimmClassifier, HuggingFaceClassifier):
        state = {'student.model.weight': 0}
        classifier._remove_state_dict_prefix(None, state, 'student.', {})
        if 'student.weight' not in state:
            classifier._remove_state_dict_prefix = staticmethod(_drop_model)
            adapted['mmpretrain (names)'] = 'timm and Hugging Face classifiers find their weights inside other modules'
        if not hasattr(classifier.__init__, 'keeps_weights'):
            classifier.__init__ = _keeping_weights(classifier.__init__)
            adapted['mmpretrain (weights)'] = 'timm and Hugging Face classifiers keep the weights they are built with'


def _drop_model(module: Any, state_dict: dict, prefix: str, local_metadata: dict) -> dict:
    inner = f'{prefix}model.'
    for key in [key for key in state_dict if key.startswith(inner)]:
        state_dict[prefix + key.removeprefix(inner)] = state_dict.pop(key)
    return state_dict


def _keeping_weights(init: Any) -> Any:
    @functools.wraps(init)
    def keeping(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self._is_init = bool(kwargs.get('pretrained') or kwargs.get('checkpoint_path'))

    keeping.keeps_weights = True
    return keeping
