"""Fashion-MNIST: 28x28 gray product photos, 10 classes. Of its 60,000 training images the last 5,000 are for choices.

make benchmark-data fetches it.
"""

data_preprocessor = dict(num_classes=10, mean=[72.9], std=[90.0])

source = dict(type='FashionMNIST', data_root='data/fashion_mnist', download=False)
train_pipeline = [
    dict(type='RandomCrop', crop_size=28, padding=2),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    dataset=dict(
        type='tas_mm.LabeledSubset',
        dataset=dict(source, split='train', pipeline=train_pipeline),
        stop=55000,
        num_labeled=None,
        seed=0,
    ),
    sampler=dict(type='InfiniteSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=250,
    num_workers=0,
    dataset=dict(type='tas_mm.LabeledSubset', dataset=dict(source, split='train', pipeline=test_pipeline), start=55000),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
# Without test_mode MMPretrain's FashionMNIST gives the training images, whatever the split.
test_dataloader = dict(val_dataloader, dataset=dict(source, split='test', pipeline=test_pipeline, test_mode=True))
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator
