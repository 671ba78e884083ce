"""Find the configs of installed packages, for ``_base_ = 'tas_mm::...'`` and ``'mmseg::...'``.

Upstream MMEngine 0.10.7 looks for a package beside its metadata, where an editable install has no package. The
maintained fork asks the import system. Both only know MMSegmentation's upstream package name, and both read all
metafiles of a package, some hundred kilobytes, for every base from it.
"""

from __future__ import annotations

import importlib.util
import os
from functools import cache

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
USERS = ('mmengine.config.config', 'mmengine.hub.hub', 'mmengine.utils.package_utils')


def adapt(adapted: dict[str, str]) -> None:
    """Tell MMEngine where tas_mm and MMSegmentation are, if it cannot find them, and let it read metafiles once."""
    from mmengine.config import utils
    from mmengine.utils import get_installed_path, is_installed

    if not hasattr(utils.load, 'cache_clear'):
        utils.load = cache(utils.load)
        adapted['mmengine (metafiles)'] = 'reads all metafiles of a package for every base; they are read once'
    if importlib.util.find_spec('mmseg') and not is_installed(utils.MODULE2PACKAGE['mmseg']):
        utils.MODULE2PACKAGE['mmseg'] = 'mmseg'
        adapted['mmengine (mmseg)'] = "does not know the maintained fork's name of MMSegmentation; the name was added"
    if not is_installed('tas_mm') or os.path.isdir(get_installed_path('tas_mm')):
        return

    def get_path(package: str) -> str:
        return HERE if package == 'tas_mm' else get_installed_path(package)

    for name in USERS:
        importlib.import_module(name).get_installed_path = get_path  # type: ignore[attr-defined]
    adapted['mmengine (configs)'] = 'does not find packages installed in editable mode; the path of tas_mm was added'
