"""MMRazor 1.0.0 (January 2023, the last one) on current torch and mmcv.

Two things stop its import. It asserts ``mmcv <= 2.1.0``, though nothing in it depends on that. And its quantisation
part names functions that torch has since removed; distillation needs none of it, so placeholders stand in for those
modules. Whoever asks for one of their classes gets an error that says why it is missing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

REASON = (
    'is missing: the quantisation part of MMRazor 1.0.0 needs torch 1.13, and torch has since removed functions it '
    'names. Distillation does not need it; for quantisation use an environment of its own with torch 1.13.'
)

QUANTISATION = {
    'mmrazor.structures.quantization': ('BackendConfigs', 'QConfigHandler', 'QSchemeHandler'),
    'mmrazor.models.algorithms.quantization': ('MMArchitectureQuant', 'MMArchitectureQuantDDP'),
    'mmrazor.models.quantizers': (
        'BaseQuantizer',
        'AcademicQuantizer',
        'TorchNativeQuantizer',
        'TensorRTQuantizer',
        'OpenVINOQuantizer',
    ),
    'mmrazor.models.fake_quants': ('BaseFakeQuantize', 'LearnableFakeQuantize'),
    'mmrazor.models.observers': ('BaseObserver', 'LSQObserver', 'LSQPerChannelObserver'),
    'mmrazor.engine.runner.quantization_loops': ('LSQEpochBasedLoop', 'PTQLoop', 'QATEpochBasedLoop', 'QATValLoop'),
}
"""Module -> its public classes, all of which become placeholders."""


def adapt(adapted: dict[str, str]) -> None:
    """Import MMRazor's models and engine, adapting only what fails."""
    _import_past_version_cap(adapted)
    if not _quantisation_imports():
        for name, classes in QUANTISATION.items():
            sys.modules[name] = _placeholder_module(name, classes)
        adapted['mmrazor (quantisation)'] = 'needs functions that torch removed; placeholders in its place'
    importlib.import_module('mmrazor.models')
    importlib.import_module('mmrazor.engine')
    if 'mmrazor (quantisation)' in adapted:
        _register_placeholders()


def _import_past_version_cap(adapted: dict[str, str]) -> None:
    try:
        import mmrazor  # noqa: F401

        return
    except AssertionError as error:
        if 'MMCV==' not in str(error):
            raise
    import mmcv

    version = mmcv.__version__
    mmcv.__version__ = '2.1.0'
    try:
        import mmrazor  # noqa: F401
    finally:
        mmcv.__version__ = version
    adapted['mmrazor (version cap)'] = f'asserts mmcv <= 2.1.0 at import; imported beside mmcv {version}'


def _quantisation_imports() -> bool:
    try:
        importlib.import_module('mmrazor.structures')
        return True
    except (ImportError, AttributeError):
        for name in [name for name in sys.modules if name.startswith('mmrazor.structures')]:
            del sys.modules[name]
        return False


def _placeholder_class(module: str, name: str) -> type:
    def refuse(self, *args, **kwargs):
        raise ImportError(f'{module}.{name} {REASON}')

    return type(name, (), {'__init__': refuse, '__module__': module, '__doc__': f'{name} {REASON}'})


def _placeholder_module(name: str, classes: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name, f'This module {REASON}')
    module.__all__ = []
    module.__path__ = []  # a package, so that an import from below it fails with the reason too
    for cls in classes:
        setattr(module, cls, _placeholder_class(name, cls))

    def missing(attribute: str):
        raise AttributeError(f'{name}.{attribute} {REASON}')

    module.__getattr__ = missing
    return module


def _register_placeholders() -> None:
    """Let ``type='mmrazor.MMArchitectureQuant'`` in a config raise the reason instead of 'not in the registry'."""
    from mmrazor.registry import LOOPS, MODELS

    for module, classes in QUANTISATION.items():
        registry = LOOPS if module.endswith('loops') else MODELS
        for name in classes:
            registry.register_module(name=name, module=getattr(sys.modules[module], name), force=True)
