"""The paper's ablation, and ours, on CIFAR-100 at 224 px, for those who have the data, ImageNet weights and GPUs."""

_base_ = 'ablation.py'

pairs = dict(
    _delete_=True,
    swin_to_r18='tas_mm::tas/swin_to_r18_cifar100.py',
    convnext_to_deit_t='tas_mm::tas/convnext_to_deit_t_cifar100.py',
)
options = dict(_delete_=True)
of_class_tokens = ['own class token']
choices = [name for name in _base_.settings.choices.methods if name not in ('alone', 'full', *of_class_tokens)]
settings = dict(
    _delete_=True,
    swin_to_r18=dict(
        pairs=['swin_to_r18'],
        methods=[*_base_.settings.parts.methods, *choices, 'teacher first', 'teacher first, B: no late stage'],
    ),
    convnext_to_deit_t=dict(pairs=['convnext_to_deit_t'], methods=['alone', 'full', *of_class_tokens]),
)
seeds = 3
seed_keys = ['randomness.seed']
