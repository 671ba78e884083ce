"""Plain knowledge distillation (Hinton et al., arXiv 1503.02531), Swin-T to ResNet-18 on ImageNet-1K.

The same networks, data and recipe as configs/tas/swin_to_r18.py; only the distiller differs.
"""

_base_ = '../tas/swin_to_r18.py'

model = dict(
    distiller=dict(
        paths={'ta': 0, 'as': 0},
        feature_loss=None,
        logit_loss=dict(type='KLDivergence', tau=1.0),
    )
)
