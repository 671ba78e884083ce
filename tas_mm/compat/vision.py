"""torchvision beside a torch it was not built for (a CUDA torchvision, a CPU torch).

Its compiled operators do not load then, and the import dies where fake (shape-only) kernels are registered for
operators that do not exist. timm's and MMPretrain's transforms need none of those operators, so skipping the
registrations is enough. ``torchvision.ops.nms`` and its like stay unusable and say so when called.
"""

from __future__ import annotations

import importlib
import sys


def adapt(adapted: dict[str, str]) -> None:
    """Import torchvision, skipping fake kernels of missing operators if, and only if, the plain import fails."""
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
                return func  # the operator was never loaded: nothing to fake

        return register

    torch.library.register_fake = register_fake_if_present
    try:
        importlib.import_module('torchvision')
    finally:
        torch.library.register_fake = original
    adapted['torchvision'] = 'its operators do not load with this torch; imported without them'
