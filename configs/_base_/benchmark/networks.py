"""Networks for 28x28 gray images, 10 classes: four teachers in two sizes, and three students. All of it our choice."""


def classifier(backbone, width, head='LinearClsHead', neck=dict(type='GlobalAveragePooling')):
    head = dict(type=head, num_classes=10, in_channels=width, loss=dict(type='CrossEntropyLoss'))
    return dict(type='ImageClassifier', backbone=dict(backbone, in_channels=1), neck=neck, head=head)


def cnn(width):
    """ResNet-18 with a 3x3 stem of stride 2: maps of 14, 7, 4 and 2 pixels."""
    backbone = dict(type='ResNet_CIFAR', depth=18, stem_channels=width, base_channels=width, strides=(2, 2, 2, 2))
    return classifier(backbone, 8 * width)


def vit(width, depth, stem='Conv2d'):
    """49 tokens; a teacher has a convolutional stem, or it stays weak on so few images."""
    backbone = dict(
        type='VisionTransformer',
        arch=dict(embed_dims=width, num_layers=depth, num_heads=width // 16, feedforward_channels=2 * width),
        img_size=28,
        patch_size=4,
        patch_cfg=dict(conv_type=stem),
    )
    return classifier(backbone, width, 'VisionTransformerClsHead', neck=None)


def swin(width):
    """Stages of 14, 7, 4 and 2 patches."""
    arch = dict(embed_dims=width, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])
    backbone = dict(type='SwinTransformer', arch=arch, img_size=28, patch_size=2, window_size=7, pad_small_map=True)
    return classifier(backbone, 8 * width)


def mixer(width, depth, stem='Conv2d'):
    """49 tokens."""
    backbone = dict(
        type='MlpMixer',
        arch=dict(embed_dims=width, num_layers=depth, tokens_mlp_dims=64, channels_mlp_dims=2 * width),
        img_size=28,
        patch_size=4,
        patch_cfg=dict(in_channels=1, conv_type=stem),
    )
    network = classifier(backbone, width, neck=dict(type='GlobalAveragePooling', dim=1))
    del network['backbone']['in_channels']
    return network


STEM = 'tas_mm.ConvStem'
teachers = dict(cnn=cnn(24), vit=vit(64, 4, STEM), swin=swin(16), mixer=mixer(64, 4, STEM))
large_teachers = dict(cnn=cnn(64), vit=vit(192, 8, STEM), swin=swin(48), mixer=mixer(192, 8, STEM))
students = dict(cnn=cnn(8), vit=vit(32, 4, STEM), mixer=mixer(32, 4, STEM))
