"""TAS without its parts and with our choices the other way, on two directions of Fashion-MNIST with 1,000 labels."""


def tas(**changes):
    return dict(type='tas_mm.TASDistiller', **changes)


pairs = {pair: f'tas_mm::benchmark/{pair}.py' for pair in ('vit_to_cnn', 'cnn_to_vit')}
methods = {
    'alone': None,
    'full': tas(),
    'A: no attention, no late stage': tas(assistant=dict(late_stages=0, projector=dict(num_blocks=0))),
    'B: no late stage': tas(assistant=dict(late_stages=0)),
    'C: no teacher to assistant': tas(paths=dict(TA=0)),
    'no teacher to student': tas(paths=dict(TS=0)),
    'no assistant to student': tas(paths=dict(AS=0)),
    'F: no InfoNCE': tas(feature_loss=None),
    'G: no OFA': tas(logit_loss=None),
}
settings = dict(labels_1000=dict(options={'train_dataloader.dataset.num_labelled': 1000}))
seeds = 5
seed_keys = ['randomness.seed', 'train_dataloader.dataset.seed']
