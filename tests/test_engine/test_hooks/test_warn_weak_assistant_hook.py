"""An assistant that ends less accurate than its learner is named, with the options that may help."""

import pytest
from mmengine.evaluator import Evaluator
from mmengine.runner import IterBasedTrainLoop

from tests import networks
from tests.test_engine.test_val_loop import loop_of


@pytest.mark.parametrize(
    ('student', 'iteration', 'early', 'says'),
    [(90.0, 2, 'student', True), (80.0, 2, 'student', False), (90.0, 1, 'student', False), (90.0, 2, 'teacher', True)],
)
def test_an_assistant_that_ends_behind_the_student_is_named(
    tmp_path, build_tas, monkeypatch, student, iteration, early, says
):
    distiller = dict(type='tas_mm.TASDistiller', assistant=dict(early=early))
    algorithm = build_tas(networks.resnet(), networks.swin(), distiller=distiller)
    loop, _ = loop_of(tmp_path, algorithm, hooks=[dict(type='tas_mm.WarnWeakAssistantHook')])
    loop.runner._train_loop = train = IterBasedTrainLoop(loop.runner, dict(loop.runner._val_dataloader), max_iters=2)
    train._iter = iteration
    top1 = {True: student, False: 85.0}
    monkeypatch.setattr(Evaluator, 'evaluate', lambda self, size: {'accuracy/top1': top1[self is loop.evaluator]})
    monkeypatch.setattr(loop.runner.logger, 'warning', (said := []).append)
    loop.run()
    assert any('assistant ends less accurate (85.00) than the student (90.00)' in text for text in said) is says
