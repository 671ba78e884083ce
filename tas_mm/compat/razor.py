"""MMRazor 1.0.0 (January 2023, the last one) on current torch and mmcv.

Three things do not work. It asserts ``mmcv <= 2.1.0``, though nothing in it needs that. Its quantization part uses
functions that torch has removed. Distillation does not need them, so placeholders replace those modules, and raise an
error with the reason when used. And its switch-off of in-place modules, which recorders rely on, looks for an
``OrderedDict``. torch uses a plain dict since 2.5, so the switch has no effect.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

REASON = (
    'is missing: the quantization part of MMRazor 1.0.0 needs torch 1.13, since torch has removed functions that it '
    'uses. Distillation does not need it. For quantization use a separate environment with torch 1.13'
)

QUANTIZATION = {
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
"""Module -> its public classes, which all become placeholders."""


def adapt(adapted: dict[str, str]) -> None:
    """Import MMRazor's models and engine, and adapt what fails."""
    _import_past_version_cap(adapted)
    if not _quantization_imports():
        for name, classes in QUANTIZATION.items():
            sys.modules[name] = _placeholder_module(name, classes)
        adapted['mmrazor (quantization)'] = 'needs functions that torch removed; placeholders in its place'
    importlib.import_module('mmrazor.models')
    importlib.import_module('mmrazor.engine')
    if 'mmrazor (quantization)' in adapted:
        _register_placeholders()
    _adapt_inplace_switch(adapted)


def _adapt_inplace_switch(adapted: dict[str, str]) -> None:
    """Make MMRazor's algorithms switch off in-place modules, if they do not."""
    from mmrazor.models.algorithms.base import BaseAlgorithm
    from torch import nn

    class Switch:  # MMRazor evaluates the given name on the algorithm
        architecture: nn.Sequential
        set_module_inplace_false = BaseAlgorithm.set_module_inplace_false

    switch = Switch()
    switch.architecture = nn.Sequential(nn.ReLU(inplace=True))
    switch.set_module_inplace_false(switch.architecture, 'self.architecture')
    if not switch.architecture[0].inplace:
        return

    def set_module_inplace_false(self: BaseAlgorithm, architecture: nn.Module, varstr: str) -> None:
        """Set ``inplace`` of all modules to False; see MMRazor."""
        for module in architecture.modules():
            if hasattr(module, 'inplace'):
                module.inplace = False

    BaseAlgorithm.set_module_inplace_false = set_module_inplace_false
    adapted['mmrazor (in-place modules)'] = 'looks for an OrderedDict that torch no longer has; replaced'


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


def _quantization_imports() -> bool:
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
    module.__all__ = []  # type: ignore[attr-defined]
    module.__path__ = []  # a package, so that imports from its submodules raise the reason too
    for cls in classes:
        setattr(module, cls, _placeholder_class(name, cls))

    def missing(attribute: str):
        raise AttributeError(f'{name}.{attribute} {REASON}')

    module.__getattr__ = missing  # type: ignore[method-assign]
    return module


def _register_placeholders() -> None:
    """Make ``type='mmrazor.MMArchitectureQuant'`` in a config raise the reason instead of 'not in the registry'."""
    from mmrazor.registry import LOOPS, MODELS

    for module, classes in QUANTIZATION.items():
        registry = LOOPS if module.endswith('loops') else MODELS
        for name in classes:
            registry.register_module(name=name, module=getattr(sys.modules[module], name), force=True)
