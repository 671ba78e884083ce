"""Swin-P. Its drop path is timm's default, which OFA-KD (arXiv 2310.19444) leaves as it is on CIFAR-100."""

_base_ = 'mmpretrain::_base_/models/swin_transformer/tiny_224.py'

model = dict(
    backbone=dict(type='tas_mm.SwinTransformer', arch='pico', drop_path_rate=0.1),
    head=dict(in_channels=384),
)
