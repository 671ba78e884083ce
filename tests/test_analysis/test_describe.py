"""Tables of a pair: what they say of the images is what the networks get."""

import pytest
import torch
from mmengine.config import Config

from tas_mm.analysis.describe import describe, image_rows
from tests import networks
from tests.networks import SIZE

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def student(**preprocessor):
    return dict(networks.resnet(), data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor', **preprocessor))


def teacher(**preprocessor):
    preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', **preprocessor)
    return dict(type='TimmClassifier', _scope_='mmpretrain', model_name='test_vit', num_classes=5, img_size=SIZE) | (
        dict(data_preprocessor=preprocessor) if len(preprocessor) > 1 else {}
    )


FILES = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile')]))))


@pytest.mark.parametrize(
    ('config', 'ours', 'theirs', 'orders'),
    [
        (FILES, dict(mean=MEAN, std=STD, to_rgb=True), {}, ('rgb', 'rgb')),
        (FILES, dict(mean=MEAN[::-1], std=STD[::-1]), {}, ('bgr', 'rgb')),
        (FILES, dict(mean=MEAN[::-1], std=STD[::-1]), dict(mean=[1, 2, 3], std=[4, 5, 6]), ('bgr', 'bgr')),
        (FILES, {}, dict(mean=MEAN, std=STD, to_rgb=True), ('bgr', 'rgb')),
        (None, dict(mean=MEAN, std=STD), {}, ('as the dataset gives them', 'as the dataset gives them')),
        (None, dict(mean=MEAN[::-1], std=STD[::-1]), {}, ('as the dataset', 'the reverse of: as the dataset gives')),
    ],
)
def test_order_mean_and_std_are_those_of_the_images_that_each_network_gets(build_tas, config, ours, theirs, orders):
    distiller = dict(type='tas_mm.TASDistiller', input_size=SIZE)
    algorithm = build_tas(student(**ours), teacher(**theirs), distiller=distiller)
    title = 'what each network sees'
    rows = describe(algorithm, config)[title][1]
    assert rows == image_rows(algorithm, config)
    pixels = torch.randint(0, 256, (2, 3, SIZE, SIZE))
    seen = dict(student=algorithm.data_preprocessor(dict(inputs=pixels))['inputs'].float())
    seen['teacher'] = algorithm.teacher.normalized(seen['student'])
    for (network, order, mean, std), expected in zip(rows, orders):
        assert order.startswith(expected)
        mean, std = (torch.tensor([float(x) for x in each.split(',')]).view(3, 1, 1) for each in (mean, std))
        given = pixels.flip(1) if order in ('rgb', 'the reverse of: as the dataset gives them') else pixels
        torch.testing.assert_close(seen[network], (given - mean) / std, atol=1e-3, rtol=1e-3)
