"""Metrics of any form, and evaluators that write: each network's own."""

import numpy as np
import pytest
import torch
from mmengine.evaluator import DumpResults, Evaluator
from mmengine.registry import DefaultScope
from mmpretrain.registry import METRICS

from tas_mm.engine.metrics import describe, evaluator_for, scalars

VALUES = {
    'number': 1.5,
    'numpy': np.float32(2.0),
    'tensor': torch.tensor(3.0),
    'one': torch.tensor([4.0]),
    'classes': [1.0, 2.0],
    'matrix': torch.zeros(3, 3),
    'text': 'fine',
}


def test_of_metrics_in_any_form_the_single_numbers_are_compared_and_all_are_told():
    assert scalars(VALUES) == {'number': 1.5, 'numpy': 2.0, 'tensor': 3.0, 'one': 4.0}
    text = describe(VALUES)
    assert 'number 1.50' in text
    assert 'classes 2,' in text
    assert 'matrix 3x3' in text


def test_what_an_evaluator_writes_for_another_network_goes_elsewhere(tmp_path):
    own = Evaluator(DumpResults(out_file_path=str(tmp_path / 'predictions.pkl')))
    copied = evaluator_for('teacher', own)
    assert own.metrics[0].out_file_path == str(tmp_path / 'predictions.pkl')
    assert copied.metrics[0].out_file_path == str(tmp_path / 'teacher.predictions.pkl')


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='Accuracy', topk=(1,)),
        dict(type='SingleLabelMetric', average=None),
        dict(type='ConfusionMatrix', num_classes=3),
        dict(type='AveragePrecision', average=None),
    ],
)
def test_mmpretrains_metrics_are_told(cfg):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        metric = METRICS.build(cfg)
    scores, labels = torch.rand(8, 3), torch.arange(8) % 3
    samples = [
        dict(pred_score=score, pred_label=score.argmax()[None], gt_label=label[None], gt_score=torch.eye(3)[label])
        for score, label in zip(scores, labels)
    ]
    metric.process({}, samples)
    assert describe(metric.evaluate(8))
