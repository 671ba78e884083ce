"""MobileNetV2 with label smoothing, as OFA-KD's recipe trains it (arXiv 2310.19444)."""

_base_ = 'mmpretrain::_base_/models/mobilenet_v2_1x.py'

model = dict(head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
