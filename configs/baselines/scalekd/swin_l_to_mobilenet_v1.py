"""ScaleKD, Swin-L to MobileNetV1 on ImageNet-1K.

The authors state 75.15 top-1, by another recipe: docs/baselines.md.
tools/dist_train.sh configs/baselines/scalekd/swin_l_to_mobilenet_v1.py 8
"""

_base_ = ['../../_base_/recipes/imagenet_cnn.py', '../../_base_/distillers/scalekd.py']

student = dict(  # which timm has
    type='TimmClassifier',
    model_name='mobilenetv1_100',
    num_classes=1000,
    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
)

model = dict(
    type='tas_mm.TAS',
    architecture=student,
    teacher=dict(cfg_path='mmpretrain::swin_transformer/swin-large_16xb64_in1k.py', pretrained=True),
    distiller=_base_.distiller,
)
default_hooks = dict(check_teacher=dict(expected=86.24))
