"""MobileNetV1 (arXiv 1704.04861), which timm has."""

model = dict(
    type='TimmClassifier',
    model_name='mobilenetv1_100',
    num_classes=1000,
    loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
)
