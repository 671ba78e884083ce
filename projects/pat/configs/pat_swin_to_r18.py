"""PAT, Swin-T to ResNet-18 on ImageNet-1K.

Networks, data and recipe of configs/tas/swin_to_r18.py.
PYTHONPATH=. tools/dist_train.sh projects/pat/configs/pat_swin_to_r18.py 8
"""

_base_ = ['../../../configs/tas/swin_to_r18.py', 'pat.py']

model = dict(distiller=_base_.distiller)
# no decay of the prompts' factors, which gate the prompts
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(factor=dict(decay_mult=0.0))))
