"""tas_mm's registries: children of MMEngine's, with scope ``tas_mm``.

MMEngine imports this module by itself when it meets ``type='tas_mm.X'``, from whatever scope, so a config needs no
``custom_imports``. Stage views have their own, simpler registry in ``tas_mm.models.stages``: they are looked up by the
class of a backbone, not by a name in a config.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='tas_mm', locations=['tas_mm.models'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='tas_mm', locations=['tas_mm.datasets'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='tas_mm', locations=['tas_mm.engine'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='tas_mm', locations=['tas_mm.engine'])
