"""The backbones that neither MMPretrain nor timm has."""

import pytest
import torch

from tas_mm.models import view_of
from tas_mm.recipes.sources import build_classifier
from tas_mm.registry import MODELS


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


def test_conv_stem():
    """As many tokens as the one large convolution gives; each token sees beyond its own patch."""
    stem = MODELS.build(dict(type='tas_mm.ConvStem', in_channels=1, out_channels=32, kernel_size=4, stride=4)).eval()
    image = torch.zeros(1, 1, 28, 28)
    tokens = stem(image)
    assert tokens.shape == (1, 32, 7, 7)
    image[0, 0, 3, 3] = 1  # in the first patch, at its border
    changed = (stem(image) != tokens).any(dim=1)[0]
    assert changed[:2, :2].any(), 'the stem is blind'
    assert changed[1, 1], 'the next patch does not see it'


@pytest.mark.parametrize('stride', [3, (1, 1)])
def test_conv_stem_wants_a_power_of_two(stride):
    with pytest.raises(ValueError, match='Expected a power of 2'):
        MODELS.build(dict(type='tas_mm.ConvStem', in_channels=1, out_channels=8, stride=stride))
