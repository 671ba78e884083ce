"""The paper's CIFAR-100 table at 224 px, for those who have the data, ImageNet weights and GPUs for weeks."""

_base_ = '../../_base_/methods.py'

PAIRS = [
    'swin_to_r18',
    'vit_s_to_r18',
    'mixer_to_r18',
    'swin_to_mobilenetv2',
    'vit_s_to_mobilenetv2',
    'mixer_to_mobilenetv2',
    'convnext_to_deit_t',
    'mixer_to_deit_t',
    'convnext_to_swin_p',
    'mixer_to_swin_p',
    'convnext_to_resmlp',
    'swin_to_resmlp',
]

pairs = {pair: f'tas_mm::tas/{pair}_cifar100.py' for pair in PAIRS}
settings = dict(cifar100=dict())
seeds = 3
compare = 'tas'
