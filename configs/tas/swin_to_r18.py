"""Swin-T to ResNet-18 on ImageNet-1K (TAS, arXiv 2410.12342: 72.21 top-1).

tools/dist_train.sh configs/tas/swin_to_r18.py 8
"""

_base_ = [
    'mmpretrain::_base_/models/resnet18.py',
    'mmpretrain::_base_/datasets/imagenet_bs64.py',
    '../_base_/schedules/imagenet_cnn.py',
    '../_base_/default_runtime.py',
]

student = _base_.model
student.head.loss = dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')

model = dict(
    _delete_=True,
    type='tas_mm.TAS',
    architecture=student,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py', pretrained=True),
    distiller=dict(type='tas_mm.TASDistiller'),
)
