"""Stage outputs of the networks, and their costs."""

import numpy as np
import pytest
import torch
from torch import nn

from tas_mm.analysis.costs import parts_of
from tas_mm.analysis.counting import cost
from tas_mm.analysis.features import attention, collect_features
from tas_mm.analysis.figures.assistants import assistants_figure
from tas_mm.analysis.figures.stages import features_figure
from tests import networks


@pytest.mark.parametrize(
    ('student', 'teacher', 'early'),
    [(networks.resnet(), networks.swin(), 'student'), (networks.vit(), networks.resnet(), 'teacher')],
)
class TestPairs:
    def test_all_networks_are_seen_as_they_predict(self, build_tas, batch, student, teacher, early):
        algorithm = build_tas(student, teacher)
        images, samples = batch
        features = collect_features(algorithm, images)
        assert algorithm.training
        assert list(features) == ['teacher', 'assistant', 'student']
        predicted = algorithm.eval().predict_roles(images, samples, list(features))
        for role, found in features.items():
            scores = torch.stack([sample.pred_score for sample in predicted[role]])
            assert torch.allclose(found.logits.softmax(dim=1), scores, atol=1e-5)
        distiller = algorithm.distiller
        views = dict(teacher=distiller.teacher_view, student=distiller.student_view)
        for role, view in views.items():
            shapes = [tuple(y.shape[1:]) for y in features[role].maps.values()]
            assert shapes == [(stage.channels, *stage.grid) for stage in view.stages]
        late = views['student' if early == 'teacher' else 'teacher']
        assert list(features['assistant'].maps) == [3, 4]
        assert [y.size(1) for y in features['assistant'].maps.values()] == [
            late.stages[2].channels,
            late.stages[3].channels,
        ]

    def test_the_drawing_says_whose_the_stages_are(self, build_tas, student, teacher, early):
        (panel,) = assistants_figure(dict(pair=build_tas(student, teacher))).axes
        texts = [text.get_text() for text in panel.texts]
        late = 'student' if early == 'teacher' else 'teacher'
        assert [text for text in texts if "'s" in text] == [f"stage 4\nthe {late}'s", f"head\nthe {late}'s"]
        assert 'L2G\nprojector' in texts
        assert 'assistant\n3 + 1 stages' in texts

    def test_the_summary_adds_up(self, build_tas, student, teacher, early):
        algorithm = build_tas(student, teacher)
        parts = {(part.network, part.part): part for part in parts_of(algorithm)}
        late = 'student' if early == 'teacher' else 'teacher'
        stages, tail = parts['assistant', 'stages 1 to 3'], parts['assistant', 'stage 4 and head']
        assert (stages.owner, tail.owner) == (f"the {early}'s", f"the {late}'s")
        assert stages.parameters < parts[early, 'whole'].parameters
        assert tail.parameters < parts[late, 'whole'].parameters
        assert not any(p.requires_grad for p in parts['teacher', 'whole'].parameters)
        assert all(p.requires_grad for p in parts['student', 'whole'].parameters)
        step = parts['a training step', 'all, each once']
        assert {p for p in step.parameters if p.requires_grad} == {p for p in algorithm.parameters() if p.requires_grad}
        whole = parts['assistant', 'whole']
        assert (
            step.multiply_adds
            == sum(part.multiply_adds for part in (parts['teacher', 'whole'], parts['student', 'whole'], whole))
            - stages.multiply_adds
        )


@pytest.mark.parametrize(
    ('student', 'teacher', 'without'),
    [
        (networks.resnet(), dict(networks.vit(), head=None), {'teacher', 'assistant'}),
        (dict(networks.vit(), head=None), networks.resnet(), {'student', 'assistant'}),
    ],
)
def test_networks_without_a_head_are_drawn_without_a_prediction(build_tas, batch, student, teacher, without):
    features = collect_features(build_tas(student, teacher), batch[0][:1])
    assert {role for role, found in features.items() if found.logits is None} == without
    assert all(len(found.maps) >= 2 for found in features.values())
    figure = features_figure(np.zeros((64, 64, 3), np.uint8), features, 'student')
    titles = {axes.get_title() for axes in figure.axes}
    assert without < titles
    (classifier,) = {'student', 'teacher'} - without
    assert any(title.startswith(f'{classifier}: class ') for title in titles)


def test_stages_of_a_cnn_are_counted_as_its_modules_say(build_tas):
    algorithm = build_tas(networks.resnet(), networks.swin())
    parts = {(part.network, part.part): part for part in parts_of(algorithm)}
    backbone = algorithm.student.backbone
    early = {p for name, p in backbone.named_parameters() if not name.startswith('layer4')}
    assert parts['assistant', 'stages 1 to 3'].parameters == early
    swin = algorithm.teacher.network
    late = [*swin.backbone.stages[3].parameters(), *swin.backbone.norm3.parameters(), *swin.head.parameters()]
    assert parts['assistant', 'stage 4 and head'].parameters == set(late)


def test_costs_by_hand():
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)  # to 8 maps of 5x5, each element a sum of 27 products
    assert cost(conv, torch.zeros(1, 3, 10, 10)) == (8 * 25 * 27, 8 * 25)

    class Attention(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)

    # Two heads: 16x16 scores of 8 products each, and 16x8 sums of 16.
    assert cost(Attention(), torch.randn(1, 2, 16, 8)) == (2 * (256 * 8 + 128 * 16), 2 * (256 + 128))


def test_attention_is_energy_over_channels():
    feature = torch.tensor([[[[3.0, 0.0]], [[-4.0, 1.0]]]])  # energies 12.5 and 0.5
    assert attention(feature).tolist() == [[[1.0, 0.0]]]


def test_images_of_another_size_are_refused(build_tas):
    with pytest.raises(ValueError, match=r'images of \(32, 32\). Expected \(64, 64\)'):
        collect_features(build_tas(networks.resnet(), networks.swin()), torch.zeros(1, 3, 32, 32))
