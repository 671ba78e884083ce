"""Two minutes, on the digits that scikit-learn carries: shows that the machine works, not who is best."""

pairs = dict(vit_to_cnn='tas_mm::quickstart/tas.py')
methods = dict(
    alone=None,
    kd='tas_mm::_base_/distillers/kd.py',
    tas=dict(type='tas_mm.TASDistiller'),
)
settings = dict(
    digits=dict(
        options={
            'train_cfg.max_epochs': 10,
        }
    )
)
seeds = 2
compare = 'tas'
seed_keys = ['randomness.seed', 'train_dataloader.dataset.dataset.seed']
