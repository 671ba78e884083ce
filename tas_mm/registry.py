"""tas_mm's registries: children of MMEngine's, with scope ``tas_mm``.

MMEngine imports this module by itself when it meets ``type='tas_mm.X'``, from whatever scope, so a config needs no
``custom_imports``. What comes from a base of another package (``_base_ = 'tas_mm::...'``) gets that package's scope, so
there are registries of every kind, and names that tas_mm has not are looked up in MMPretrain.

Stage views have their own, simpler registry in ``tas_mm.models.stages``: they are looked up by the class of a backbone,
not by a name in a config.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from inspect import signature

import mmpretrain.registry as mmpretrain_registry
from mmengine.registry import Registry


class PluginRegistry(Registry):
    """A registry that hands names it has not to MMPretrain's of the same kind.

    Args:
        kind (str): Name of MMPretrain's registry, such as ``'MODELS'``.
        locations (list, optional): Modules of tas_mm that fill it. Defaults to None.
    """

    def __init__(self, kind: str, locations: list[str] | None = None) -> None:
        self.peer: Registry = getattr(mmpretrain_registry, kind)
        super().__init__(self.peer.name, parent=self.peer.parent, scope='tas_mm', locations=locations or [])

    def get(self, key: str) -> type | None:
        """The class of a name: tas_mm's, else MMPretrain's, else MMEngine's."""
        scope, name = self.split_scope_key(key)
        if scope is None:
            self.import_from_location()
            return self.module_dict.get(name) or self.peer.get(name)
        return super().get(key)


MODELS = PluginRegistry('MODELS', ['tas_mm.models'])
DATASETS = PluginRegistry('DATASETS', ['tas_mm.datasets'])
HOOKS = PluginRegistry('HOOKS', ['tas_mm.engine'])
LOOPS = PluginRegistry('LOOPS', ['tas_mm.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = PluginRegistry('OPTIM_WRAPPER_CONSTRUCTORS', ['tas_mm.engine'])
OTHERS = [
    PluginRegistry(kind)
    for kind, registry in vars(mmpretrain_registry).items()
    if isinstance(registry, Registry)
    and registry.scope == 'mmpretrain'
    and registry.parent is not None
    and kind not in ('MODELS', 'DATASETS', 'HOOKS', 'LOOPS', 'OPTIM_WRAPPER_CONSTRUCTORS')
]
"""Registries to which tas_mm adds nothing."""


def not_registered(name: str) -> str:
    """For error messages: that a name is not registered, and the nearest that are, here or in MMRazor."""
    from mmrazor.registry import MODELS as RAZOR_MODELS

    known = {key: key for key in RAZOR_MODELS.module_dict} | {key: f'tas_mm.{key}' for key in MODELS.module_dict}
    near = get_close_matches(str(name).split('.')[-1], known, n=3, cutoff=0.5)
    return f'{name!r} is not registered; nearest: {", ".join(known[key] for key in near) or "none"}'


def refuse_unknown(key: str, given: Iterable[str], *classes: type) -> None:
    """Refuse options that a config gives and that no class takes.

    Args:
        key (str): Where the config stands.
        given (iterable): Names of the options.
        *classes (type): The classes that share them; one that takes any keyword counts for those that it names.

    Raises:
        ValueError: For an option that none of them has, with the nearest ones.
    """
    parameters = [p for cls in classes for p in signature(cls).parameters.values()]
    valid = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    for name in sorted(set(given) - {*valid, 'type', '_scope_'}):
        near = get_close_matches(name, valid, n=3, cutoff=0.5) or valid
        raise ValueError(f'{key} has no option {name!r}; nearest: {", ".join(near)}')
