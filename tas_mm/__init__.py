"""Cross-architecture knowledge distillation for OpenMMLab through a hybrid assistant (TAS, arXiv 2410.12342).

Importing the package adapts the parts of the OpenMMLab stack that fail on current versions. It registers every
component under the scope ``tas_mm`` (``type='tas_mm.TAS'``), and makes the shipped configs available as bases
(``_base_ = 'tas_mm::tas/swin_to_r18.py'``).
"""

import sys

__version__ = '0.1.0'

try:
    from . import compat

    compat.adapt()

    from mmengine.config.utils import MODULE2PACKAGE

    from . import datasets, engine, models, registry  # noqa: F401

    MODULE2PACKAGE.setdefault('tas_mm', 'tas_mm')
except Exception as error:
    # `python -m tas_mm.doctor` imports this package too, and must be able to report what is wrong.
    if 'tas_mm.doctor' not in sys.orig_argv:
        raise ImportError(
            f'tas_mm cannot start: {type(error).__name__}: {error}\n'
            'Run `python -m tas_mm.doctor` to see what is missing or broken, and how to fix it'
        ) from error

__all__ = ['__version__']
