"""Two faults of MMPretrain's wrappers around classifiers of timm and Hugging Face.

Names: they remove ``model.`` from the names of their weights on saving, so that the library can load the file, and add
it on loading. On saving they return a new dict, which PyTorch uses for the outermost module only. Inside another
module, such as a student in a distillation, the saved names stay as they are but get a second ``model.`` on loading. No
weight is found, and MMEngine only warns. Renaming in place works at any depth.

Trained weights: with ``pretrained=True`` they load weights when they are built. Then MMEngine's runner calls
``init_weights()``, which overwrites them with random ones. ``TIMMBackbone`` marks itself as initialized; so should
these.
"""

from __future__ import annotations

import functools
from typing import Any

MARK = '_is_init'
"""MMEngine's attribute of modules that ``init_weights()`` skips."""


def adapt(adapted: dict[str, str]) -> None:
    """Rename in place and keep trained weights, for each classifier that does not."""
    from mmpretrain.models.classifiers import HuggingFaceClassifier, TimmClassifier

    for classifier in (TimmClassifier, HuggingFaceClassifier):
        state = {'student.model.weight': 0}
        classifier._remove_state_dict_prefix(None, state, 'student.', {})
        if 'student.weight' not in state:
            classifier._remove_state_dict_prefix = staticmethod(_drop_model)
            adapted['mmpretrain (names)'] = 'timm and Hugging Face classifiers find their weights inside other modules'
        if not _marks_itself(classifier):
            classifier.__init__ = _keeping_weights(classifier.__init__)
            adapted['mmpretrain (weights)'] = 'timm and Hugging Face classifiers keep the weights they are built with'


def _drop_model(module: Any, state_dict: dict, prefix: str, local_metadata: dict) -> dict:
    inner = f'{prefix}model.'
    for key in [key for key in state_dict if key.startswith(inner)]:
        state_dict[prefix + key.removeprefix(inner)] = state_dict.pop(key)
    return state_dict


def _marks_itself(classifier: type) -> bool:
    """Return True if the constructor sets the mark, or if the class has its own ``init_weights``.

    Trying would need a download, because these classifiers only show the fault with published weights.
    """
    init: Any = classifier.__init__  # type: ignore[misc]
    while hasattr(init, '__wrapped__') and MARK not in init.__code__.co_names:
        init = init.__wrapped__
    return MARK in init.__code__.co_names or 'init_weights' in vars(classifier)


def _keeping_weights(init: Any) -> Any:
    @functools.wraps(init)
    def keeping(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        if kwargs.get('pretrained') or kwargs.get('checkpoint_path'):
            self._is_init = True

    return keeping
