"""Optimizer groups that are joined: fewer of them, the same updates."""

from copy import deepcopy

import torch
from mmengine.optim import build_optim_wrapper

from tests import networks

WRAPPER = dict(
    optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.1),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(log_scale=dict(decay_mult=0.0), fc=dict(lr_mult=0.5), conv1=dict(lr_mult=0.1)),
    ),
)


def test_joined_groups_make_the_same_updates(build_tas, batch):
    plain = build_tas(networks.resnet(), networks.swin())
    joined = deepcopy(plain)
    groups = {}
    for model, more in ((plain, {}), (joined, dict(constructor='tas_mm.JoinedOptimWrapperConstructor'))):
        wrapper = build_optim_wrapper(model, {**WRAPPER, **more})
        for _ in range(2):
            torch.manual_seed(0)
            wrapper.update_params(model.parse_losses(model(*batch, mode='loss'))[0])
        groups[model is joined] = wrapper.optimizer.param_groups
    for (name, a), b in zip(plain.named_parameters(), joined.parameters()):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)
    trained = sum(p.requires_grad for p in joined.parameters())
    assert len(groups[False]) == trained == sum(len(group['params']) for group in groups[True])
    assert sorted((round(g['lr'], 9), g['weight_decay']) for g in groups[True]) == [
        (0.001, 0.1),
        (0.005, 0.1),
        (0.01, 0.0),
        (0.01, 0.0),
        (0.01, 0.1),
    ]
