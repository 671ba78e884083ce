"""tas_mm's registries: children of MMEngine's, with scope ``tas_mm``.

MMEngine imports this module itself for ``type='tas_mm.X'`` in any scope, so a config does not need ``custom_imports``.
Parts from a base of another package (``_base_ = 'tas_mm::...'``) get that package's scope. So there are registries of
every kind, and names that tas_mm does not register are looked up in MMPretrain.

Stage views have their own, simpler registry in ``tas_mm.models.stages``, by the class of a backbone.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature

import mmpretrain.registry as mmpretrain_registry
from mmengine.registry import Registry


class PluginRegistry(Registry):
    """Registry that falls back to MMPretrain's registry of the same kind.

    Args:
        kind (str): Name of MMPretrain's registry, such as ``'MODELS'``.
        locations (list, optional): Modules of tas_mm that register classes in it. Defaults to None: none.
    """

    def __init__(self, kind: str, locations: list[str] | None = None) -> None:
        self.peer: Registry = getattr(mmpretrain_registry, kind)
        super().__init__(self.peer.name, parent=self.peer.parent, scope='tas_mm', locations=locations or [])

    def get(self, key: str) -> type | None:
        """Return the class of a name, from tas_mm, else MMPretrain, else MMEngine."""
        scope, name = self.split_scope_key(key)
        if scope is None:
            self.import_from_location()
            return self.module_dict.get(name) or self.peer.get(name)
        return super().get(key)


MODELS = PluginRegistry('MODELS', ['tas_mm.models'])
DATASETS = PluginRegistry('DATASETS', ['tas_mm.datasets'])
DATA_SAMPLERS = PluginRegistry('DATA_SAMPLERS', ['tas_mm.datasets'])
HOOKS = PluginRegistry('HOOKS', ['tas_mm.engine'])
LOOPS = PluginRegistry('LOOPS', ['tas_mm.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = PluginRegistry('OPTIM_WRAPPER_CONSTRUCTORS', ['tas_mm.engine'])
OTHERS = [
    PluginRegistry(kind)
    for kind, registry in vars(mmpretrain_registry).items()
    if isinstance(registry, Registry)
    and registry.scope == 'mmpretrain'
    and registry.parent is not None
    and kind not in ('MODELS', 'DATASETS', 'DATA_SAMPLERS', 'HOOKS', 'LOOPS', 'OPTIM_WRAPPER_CONSTRUCTORS')
]
"""Registries to which tas_mm adds nothing. Creating them is enough: MMEngine finds them by their scope."""


def not_registered(name: str) -> str:
    """Describe, for error messages, that a name is not registered, with the closest names here and in MMRazor.

    Args:
        name (str): The name.
    """
    from mmrazor.registry import MODELS as RAZOR_MODELS

    known = {key: key for key in RAZOR_MODELS.module_dict} | {key: f'tas_mm.{key}' for key in MODELS.module_dict}
    near = get_close_matches(str(name).split('.')[-1], known, n=3, cutoff=0.5)
    return f'{name!r} is not registered. Closest names: {", ".join(known[key] for key in near) or "none"}'


def refuse_unknown(key: str, given: Iterable[str], *classes: type) -> None:
    """Raise for options in a config that none of the classes accepts.

    Args:
        key (str): Key of the config.
        given (iterable): Names of the options.
        *classes (type): Classes that share the options. For a class that accepts any keyword, those in its signature.

    Raises:
        ValueError: For an unknown option; the error suggests the closest valid names.
    """
    parameters = [p for cls in classes for p in signature(cls).parameters.values()]
    valid = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    for name in sorted(set(given) - {*valid, 'type', '_scope_'}):
        near = get_close_matches(name, valid, n=3, cutoff=0.5) or valid
        raise ValueError(f'{key}: unknown option {name!r}. Closest names: {", ".join(near)}')
