"""The paper's ablation, and ours, on CIFAR-100 at 224 px, for those who have the data, ImageNet weights and GPUs."""


def tas(**changes):
    return dict(type='tas_mm.TASDistiller', **changes)


def assistant(**changes):
    return tas(assistant=changes)


def projector(**changes):
    return assistant(projector=changes)


methods = {
    'alone': None,
    'full': tas(),
    'A: no attention, no late stage': assistant(late_stages=0, projector=dict(num_blocks=0)),
    'B: no late stage': assistant(late_stages=0),
    'C: no teacher to assistant': tas(paths=dict(TA=0)),
    'no teacher to student': tas(paths=dict(TS=0)),
    'no assistant to student': tas(paths=dict(AS=0)),
    'F: no InfoNCE': tas(feature_loss=None),
    'G: no OFA': tas(logit_loss=None),
    'assistant not detached': tas(feature_loss=dict(detach_target=False), logit_loss=dict(detach_target=False)),
    'fixed temperature': tas(feature_loss=dict(learnable=False)),
    'no attention': projector(num_blocks=0),
    'convolution': projector(type='tas_mm.ConvProjector'),
    'linear layer': projector(type='tas_mm.LinearProjector'),
    'light': 'tas_mm::_base_/distillers/tas_light.py',
    '2 + 2 stages': assistant(early_stages=2, late_stages=2),
    '1 + 3 stages': assistant(early_stages=1, late_stages=3),
    'teacher first': 'tas_mm::_base_/distillers/tas_teacher_first.py',
    'lean': 'tas_mm::_base_/distillers/tas_lean.py',
    'with RSD': 'tas_mm::_base_/distillers/tas_rsd.py',
    'own class token': assistant(class_token='own'),
}
pairs = dict(
    swin_to_r18='tas_mm::tas/swin_to_r18_cifar100.py',
    convnext_to_deit_t='tas_mm::tas/convnext_to_deit_t_cifar100.py',
)
settings = dict(
    swin_to_r18=dict(pairs=['swin_to_r18'], methods=[name for name in methods if name != 'own class token']),
    convnext_to_deit_t=dict(pairs=['convnext_to_deit_t'], methods=['alone', 'full', 'own class token']),
)
seeds = 3
compare = 'full'
