"""ResMLP-S12 (arXiv 2105.03404), which timm has."""

model = dict(
    type='TimmClassifier',
    model_name='resmlp_12_224',
    num_classes=1000,
    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)
