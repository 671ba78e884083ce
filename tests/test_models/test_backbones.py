"""The backbones that neither MMPretrain nor timm has."""

import pytest

from tas_mm.inspect import build_classifier
from tas_mm.models import view_of


@pytest.mark.parametrize(
    ('config', 'channels', 'millions'),
    [
        ('configs/tas/r50_to_swin_n.py', [128, 256, 512, 512], 9.60),
        ('configs/tas/convnext_to_swin_p_cifar100.py', [96, 192, 384, 384], 5.51),
    ],
)
def test_small_swins(config, channels, millions):
    """Their size with 1,000 classes is that of their description; they are cut like every Swin."""
    model = build_classifier(config, 1000)
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    assert [stage.blocks[0].attn.w_msa.num_heads for stage in model.backbone.stages] == [2, 4, 8, 16]
    view = view_of(model)
    assert [stage.channels for stage in view.stages] == channels
    assert view.family == 'attention'
    assert view.check_tail() < 1e-5
