_base_ = 'mmpretrain::_base_/default_runtime.py'

default_hooks = dict(checkpoint=dict(max_keep_ckpts=3, save_best='auto'))
custom_hooks = [dict(type='tas_mm.ProgressBarHook')]
