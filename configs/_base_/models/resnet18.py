"""ResNet-18 with label smoothing, as OFA-KD's recipe trains it (arXiv 2310.19444)."""

_base_ = 'mmpretrain::_base_/models/resnet18.py'

model = dict(head=dict(loss=dict(_delete_=True, type='LabelSmoothLoss', label_smooth_val=0.1, mode='original')))
