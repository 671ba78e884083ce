"""The paper's ImageNet-1K table, for those who have the data and GPUs for months."""

_base_ = '../../_base_/methods.py'

PAIRS = [
    'deit_t_to_r18',
    'swin_to_r18',
    'mixer_to_r18',
    'deit_t_to_mobilenetv2',
    'swin_to_mobilenetv2',
    'mixer_to_mobilenetv2',
    'r50_to_deit_t',
    'convnext_to_deit_t',
    'mixer_to_deit_t',
    'r50_to_swin_n',
    'convnext_to_swin_n',
    'mixer_to_swin_n',
    'r50_to_resmlp',
    'convnext_to_resmlp',
    'swin_to_resmlp',
]

pairs = {pair: f'tas_mm::tas/{pair}.py' for pair in PAIRS}
settings = dict(imagenet=dict())
seeds = 3
compare = 'tas'
