"""Swin-N. No drop path, as in OFA-KD's recipe for ImageNet (arXiv 2310.19444)."""

_base_ = 'mmpretrain::_base_/models/swin_transformer/tiny_224.py'

model = dict(
    backbone=dict(type='tas_mm.SwinTransformer', arch='nano', drop_path_rate=0.0),
    head=dict(in_channels=512),
)
