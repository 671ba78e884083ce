"""TAS without its parts, and with its choices the other way, on two directions of Fashion-MNIST with 1,000 labels."""

_base_ = 'cpu.py'


def tas(**changes):
    return dict(type='tas_mm.TASDistiller', **changes)


def assistant(**changes):
    return tas(assistant=changes)


def projector(**changes):
    return assistant(projector=changes)


pairs = dict(_delete_=True, **{pair: f'tas_mm::benchmark/{pair}.py' for pair in ('vit_to_cnn', 'cnn_to_vit')})
ends = {'alone': None, 'full': tas()}
parts = {
    'A: no attention, no late stage': dict(assistant=dict(late_stages=0, projector=dict(num_blocks=0))),
    'B: no late stage': dict(assistant=dict(late_stages=0)),
    'C: no teacher to assistant': dict(paths=dict(TA=0)),
    'no teacher to student': dict(paths=dict(TS=0)),
    'no assistant to student': dict(paths=dict(AS=0)),
    'F: no InfoNCE': dict(feature_loss=None),
    'G: no OFA': dict(logit_loss=None),
}
choices = {
    'assistant not detached': tas(feature_loss=dict(detach_target=False), logit_loss=dict(detach_target=False)),
    'fixed temperature': tas(feature_loss=dict(learnable=False)),
    'no attention': projector(num_blocks=0),
    'convolution': projector(type='tas_mm.ConvProjector'),
    'linear layer': projector(type='tas_mm.LinearProjector'),
    'light': 'tas_mm::_base_/distillers/tas_light.py',
    '2 + 2 stages': assistant(early_stages=2, late_stages=2),
    '1 + 3 stages': assistant(early_stages=1, late_stages=3),
    'own class token': assistant(class_token='own'),
    'with RSD': 'tas_mm::_base_/distillers/tas_rsd.py',
}
swapped = {'teacher first': assistant(early='teacher'), 'student first': assistant(early='student')}
swapped_parts = {  # without A: what stands between a teacher's last but one stage and a CNN has no attention
    f'teacher first, {name}': tas(**{**changes, 'assistant': dict(early='teacher', **changes.get('assistant', {}))})
    for name, changes in parts.items()
    if not name.startswith('A')
}
parts = {name: tas(**changes) for name, changes in parts.items()}
methods = {'_delete_': True, **ends, **parts, **choices, **swapped, **swapped_parts}

options = {**_base_.options, 'train_dataloader.dataset.num_labeled': 1000}
settings = dict(
    _delete_=True,
    parts=dict(methods=[*ends, *parts]),
    choices=dict(methods=[*ends, *choices]),
    swapped_vit_to_cnn=dict(pairs=['vit_to_cnn'], methods=[*ends, 'teacher first', *swapped_parts]),
    swapped_cnn_to_vit=dict(pairs=['cnn_to_vit'], methods=[*ends, 'student first']),
)
compare = 'full'
