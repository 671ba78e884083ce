"""OFA-KD's exits against their layers written out, and against the sizes of the authors' own."""

import pytest
import torch
import torch.nn.functional as F

from tas_mm.models import ExitBranch


def separable_by_hand(x, block, stride):
    depthwise, pointwise = block.depthwise_conv, block.pointwise_conv
    x = F.conv2d(x, depthwise.conv.weight, stride=stride, padding=1, groups=x.size(1))
    x = F.conv2d(x, pointwise.conv.weight)
    return F.relu(F.batch_norm(x, None, None, pointwise.bn.weight, pointwise.bn.bias, training=True))


def test_exit_of_a_cnn_by_hand():
    """After stage 2 of a student 6 wide there: two blocks, 8x8 to 2x2, of width 12 and then the teacher's 20."""
    branch = ExitBranch(6, (8, 8), 5, (16, 20), 'cnn', stage=2)
    branch.init_weights()
    image = torch.randn(3, 6, 8, 8)
    x = image
    for i, stride in enumerate((2, 1, 2, 1)):
        x = separable_by_hand(x, branch.body[i], stride)
    assert x.shape == (3, 20, 2, 2)
    torch.testing.assert_close(branch(image), F.linear(x.mean((2, 3)), branch.fc.weight, branch.fc.bias))


def test_exit_after_the_last_stage_of_a_cnn_is_a_1x1_convolution():
    branch = ExitBranch(6, (2, 2), 5, (6, 20), 'cnn', stage=4)
    image = torch.randn(3, 6, 2, 2)
    widened = F.conv2d(image, branch.body[0].weight, branch.body[0].bias).mean((2, 3))
    torch.testing.assert_close(branch(image), F.linear(widened, branch.fc.weight, branch.fc.bias))


def block_by_hand(x, block):
    batch, tokens, width = x.shape
    norm = F.layer_norm(x, (width,), block.ln1.weight, block.ln1.bias)
    q, k, v = F.linear(norm, block.attn.qkv.weight).view(batch, tokens, 3, 4, -1).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(-2, -1) / (width / 4) ** 0.5).softmax(-1)
    x = x + block.attn.proj((weights @ v).transpose(1, 2).reshape(batch, tokens, width))
    norm = F.layer_norm(x, (width,), block.ln2.weight, block.ln2.bias)
    up, down = (layer for layer in block.ffn.modules() if isinstance(layer, torch.nn.Linear))
    return x + down(F.gelu(up(norm)))


@pytest.mark.parametrize(('stage', 'blocks'), [(1, 3), (2, 2), (3, 1), (4, 1)])
def test_exit_of_tokens_by_hand(stage, blocks):
    """14x14 patches of width 8 are merged to 7x7; then one block for each stage that is left, and the mean."""
    branch = ExitBranch(8, (14, 14), 5, (8, 20), 'attention', stage)
    branch.init_weights()
    image = torch.randn(2, 8, 14, 14)
    (merge,) = branch.body.merges
    x = F.unfold(image, 2, stride=2).transpose(1, 2)  # Bx49x32
    x = F.layer_norm(x, (32,), merge.norm.weight, merge.norm.bias)
    x = F.gelu(F.linear(x, merge.reduction.weight))
    assert len(branch.body.blocks) == blocks
    for block in branch.body.blocks:
        x = block_by_hand(x, block)
    torch.testing.assert_close(branch(image), branch.fc(x.mean(1)))


def test_all_four_exits_have_the_authors_size():
    """1,626,256 and 3,783,184: the modules of github.com/Hao840/OFAKD, built for the same shapes and counted."""

    def size(shapes, dims, family):
        branches = [ExitBranch(c, (g, g), 100, dims, family, i) for i, (c, g) in enumerate(shapes, 1)]
        return sum(p.numel() for branch in branches for p in branch.parameters())

    assert size([(64, 56), (128, 28), (256, 14), (512, 7)], (512, 768), 'cnn') == 1_626_256  # ResNet-18, Swin-T
    assert size([(192, 14)] * 4, (192, 768), 'attention') == 3_783_184  # DeiT-T, ConvNeXt-T


@pytest.mark.parametrize('grid', [(1, 1), (4, 6), (9, 9), (15, 14), (28, 28)])
@pytest.mark.parametrize('family', ['cnn', 'attention', 'mlp'])
def test_any_grid_and_width_will_do(family, grid):
    branch = ExitBranch(6, grid, 5, (9, 4), family, stage=1)
    logits = branch(torch.randn(2, 6, *grid))
    assert logits.shape == (2, 5)
    logits.sum().backward()
    assert all(p.grad is not None for p in branch.parameters())


def test_unknown_family_is_refused():
    with pytest.raises(ValueError, match="family='rnn'. Expected one of cnn, attention, mlp"):
        ExitBranch(6, (8, 8), 5, (16, 20), 'rnn', stage=2)
