"""Configs of small networks, one for each family, and batches for them."""

from __future__ import annotations

from collections.abc import Sequence

from mmpretrain.structures import DataSample

NUM_CLASSES = 5
SIZE = 64


def classifier(backbone: dict, in_channels: int, head: str = 'LinearClsHead', neck: bool = True, **kwargs) -> dict:
    """An ImageClassifier around a backbone."""
    return dict(
        type='ImageClassifier',
        _scope_='mmpretrain',
        backbone=backbone,
        neck=dict(type='GlobalAveragePooling') if neck else None,
        head=dict(
            type=head, num_classes=NUM_CLASSES, in_channels=in_channels, loss=dict(type='CrossEntropyLoss'), **kwargs
        ),
    )


def resnet(**kwargs) -> dict:
    """ResNet-18 with the ImageNet stem, a quarter as wide."""
    return classifier(dict(type='ResNet', depth=18, stem_channels=16, base_channels=16, **kwargs), 128)


def resnet_cifar() -> dict:
    """ResNet-18 with the CIFAR stem, an eighth as wide."""
    return classifier(dict(type='ResNet_CIFAR', depth=18, stem_channels=8, base_channels=8), 64)


def mobilenet() -> dict:
    """MobileNetV2, a quarter as wide."""
    return classifier(dict(type='MobileNetV2', widen_factor=0.25), 1280)


def swin(drop_path_rate: float = 0.2, window_size: int = 2) -> dict:
    """Swin with two blocks a stage."""
    arch = dict(embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8])
    backbone = dict(
        type='SwinTransformer', arch=arch, img_size=SIZE, window_size=window_size, drop_path_rate=drop_path_rate
    )
    return classifier(backbone, 128)


def vit(out_type: str = 'cls_token', drop_path_rate: float = 0.1, **kwargs) -> dict:
    """ViT with six blocks and patches of 16."""
    arch = dict(embed_dims=32, num_layers=6, num_heads=2, feedforward_channels=64)
    backbone = dict(
        type='VisionTransformer',
        arch=arch,
        img_size=SIZE,
        patch_size=16,
        out_type=out_type,
        drop_path_rate=drop_path_rate,
        **kwargs,
    )
    init = dict(type='Normal', layer='Linear', std=0.02)  # its default is zero logits, which would hide mistakes
    if out_type == 'featmap':
        return classifier(backbone, 32)
    return classifier(backbone, 32, 'VisionTransformerClsHead', neck=False, init_cfg=init)


def mixer() -> dict:
    """MLP-Mixer with four blocks and patches of 16."""
    arch = dict(embed_dims=32, num_layers=4, tokens_mlp_dims=16, channels_mlp_dims=64)
    return dict(
        classifier(dict(type='MlpMixer', arch=arch, img_size=SIZE), 32), neck=dict(type='GlobalAveragePooling', dim=1)
    )


def samples(labels: Sequence[int]) -> list[DataSample]:
    """Labels as MMPretrain's data pipeline gives them."""
    return [DataSample().set_gt_label(label) for label in labels]
