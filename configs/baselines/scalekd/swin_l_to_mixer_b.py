"""ScaleKD, Swin-L to Mixer-B on ImageNet-1K.

The authors state 81.96 top-1, by another recipe: docs/baselines.md.
tools/dist_train.sh configs/baselines/scalekd/swin_l_to_mixer_b.py 8
"""

_base_ = [
    'mmpretrain::_base_/models/mlp_mixer_base_patch16.py',
    '../../_base_/recipes/imagenet_vit.py',
    '../../_base_/distillers/scalekd.py',
]

student = _base_.model
student.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')
student.train_cfg = dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)])

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=student,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-large_16xb64_in1k.py', pretrained=True),
    distiller=_base_.distiller,
)
default_hooks = dict(check_teacher=dict(expected=86.24))
