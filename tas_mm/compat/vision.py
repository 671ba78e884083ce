"""torchvision with a torch that it was not built for (for example a CUDA torchvision with a CPU torch).

Its compiled operators do not load then. The import fails where it registers fake (shape-only) kernels for operators
that do not exist. The transforms of timm and MMPretrain need none of those operators, so skipping the registrations is
enough. ``torchvision.ops.nms`` and the like stay unusable and raise when called.
"""

from __future__ import annotations

import importlib
import sys


def adapt(adapted: dict[str, str]) -> None:
    """Import torchvision. If the plain import fails, skip the fake kernels of missing operators."""
    try:
        import torchvision  # noqa: F401

        return
    except RuntimeError as error:
        if 'torchvision::' not in str(error):
            raise
    import torch

    for name in [name for name in sys.modules if name.split('.')[0] == 'torchvision']:
        del sys.modules[name]

    original = torch.library.register_fake

    def register_fake_if_present(op, *args, **kwargs):
        decorator = original(op, *args, **kwargs)

        def register(func):
            try:
                return decorator(func)
            except RuntimeError:
                return func  # the operator was not loaded, so it needs no fake kernel

        return register

    torch.library.register_fake = register_fake_if_present
    try:
        importlib.import_module('torchvision')
    finally:
        torch.library.register_fake = original
    adapted['torchvision'] = 'its operators do not load with this torch; imported without them'
