"""Terms: losses that say what they read of two networks, and what is inferred from that."""

import pytest
import torch
import torch.nn.functional as F
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from mmrazor.registry import MODELS as RAZOR_MODELS

from tas_mm.models import Observer, view_of
from tests import networks
from tests.networks import NUM_CLASSES, SIZE

NETWORKS = dict(
    resnet=networks.resnet(),
    mobilenet=networks.mobilenet(),
    swin=networks.swin(drop_path_rate=0.0),
    vit=networks.vit(drop_path_rate=0.0),
)
L2 = dict(type='L2Loss', normalize=False, div_element=True)


@RAZOR_MODELS.register_module()
class AsksForAll(BaseConnector):
    """Stores what it receives about the pair."""

    def __init__(self, in_channels, out_channels, in_grid, out_grid, num_classes, family, feature_dims, stage=None):
        super().__init__()
        self.told = (in_channels, out_channels, in_grid, out_grid, num_classes, family, feature_dims, stage)

    def forward_train(self, feature):
        return feature


def distilled(build_tas, student='resnet', teacher='swin', kind='PairDistiller', **options):
    distiller = dict(type=f'tas_mm.{kind}', input_size=SIZE, **options)
    return build_tas(NETWORKS[student], NETWORKS[teacher], distiller=distiller)


def test_a_term_is_its_loss_between_the_two_networks_own_logits(build_tas, batch):
    algorithm = distilled(build_tas, terms=dict(kd=dict(type='KLDivergence', tau=2.0, loss_weight=3.0))).eval()
    losses = algorithm(*batch, mode='loss')
    with torch.no_grad():
        logits = [net(batch[0], mode='tensor') for net in (algorithm.student, algorithm.teacher.network)]
        p_s, p_t = (torch.softmax(z / 2, dim=1) for z in logits)
        expected = 3 * 4 * (p_t * (p_t / p_s).log()).sum(1).mean()
    assert set(losses) == {'student.loss', 'distill.loss_kd'}
    torch.testing.assert_close(losses['distill.loss_kd'], expected)


@pytest.mark.parametrize('teacher', NETWORKS)
@pytest.mark.parametrize('student', NETWORKS)
def test_stages_of_any_two_networks_are_maps(build_tas, batch, student, teacher):
    """A 1x1 convolution of the student's map, averaged onto the teacher's grid, against the teacher's map."""
    connector = dict(type='tas_mm.LinearProjector')
    terms = {f'hint{i}': dict(L2, reads=f'stage{i}', connector=connector) for i in (1, 2, 3, 4)}
    algorithm = distilled(build_tas, student, teacher, terms=terms)
    distiller = algorithm.distiller
    maps = {}
    for side, view in (('student', distiller.student_view), ('teacher', distiller.teacher_view)):
        for i, stage in enumerate(view.stages, 1):

            def keep(module, args, output, key=(side, i), view=view):
                maps[key] = view.to_map(output, key[1])

            view.model.get_submodule(stage.source).register_forward_hook(keep)
    losses = algorithm(*batch, mode='loss')
    for i in (1, 2, 3, 4):
        given, wanted = maps['student', i], maps['teacher', i]
        assert given.shape[1:] == distiller.student_view.shape(f'stage{i}')
        layer = distiller.connectors[f'hint{i}_student'].linear
        pooled = F.adaptive_avg_pool2d(given, wanted.shape[-2:])
        adapted = F.conv2d(pooled, layer.weight[:, :, None, None], layer.bias)
        torch.testing.assert_close(losses[f'distill.loss_hint{i}'], F.mse_loss(adapted, wanted))
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)


def test_the_two_sides_may_read_different_things_and_the_connector_is_told_all_of_them(build_tas, batch):
    term = dict(type='L2Loss', reads=dict(student='stage2', teacher='stage3'), connector=dict(type='AsksForAll'))
    told = distilled(build_tas, terms=dict(x=term)).distiller.connectors.x_student.told
    assert told == (32, 128, (8, 8), (2, 2), NUM_CLASSES, 'cnn', (128, 128), 2)
    term = dict(term, reads=dict(student='stage4'))  # against logits
    term['connector'] = dict(term['connector'], in_grid=(1, 1), out_grid=(3, 3))
    told = distilled(build_tas, 'vit', terms=dict(x=term)).distiller.connectors.x_student.told
    assert told == (32, NUM_CLASSES, (1, 1), (3, 3), NUM_CLASSES, 'attention', (32, 128), 4)


def test_losses_are_told_widths_that_the_config_does_not_give(build_tas):
    terms = dict(
        feature=dict(type='tas_mm.InfoNCELoss', reads='feature'),
        logits=dict(type='tas_mm.InfoNCELoss'),
        given=dict(type='tas_mm.InfoNCELoss', learner_dim=7, target_dim=9),
    )
    losses = distilled(build_tas, 'vit', terms=terms).distiller.distill_losses
    assert losses.loss_feature.projection.weight.shape == (128, 32)
    assert losses.loss_logits.projection is None
    assert losses.loss_given.projection.weight.shape == (9, 7)


def test_terms_add_to_the_papers_paths_and_leave_them_as_they_are(build_tas, batch):
    terms = dict(rsd=dict(type='tas_mm.RSDLoss', reads='feature'), rkd=dict(type='AngleWiseRKD', reads='feature'))
    paper = distilled(build_tas, kind='TASDistiller').eval()
    mixed = distilled(build_tas, kind='TASDistiller', terms=terms).eval()
    mixed.load_state_dict(paper.state_dict(), strict=False)
    mixed.teacher.network.load_state_dict(paper.teacher.network.state_dict())
    alone, both = paper(*batch, mode='loss'), mixed(*batch, mode='loss')
    assert both.keys() - alone.keys() == {'distill.loss_rsd', 'distill.loss_rkd'}
    assert all(torch.equal(both[name], value) for name, value in alone.items())


def test_explicit_form_equals_the_terms(build_tas, batch):
    terms = dict(
        dkd=dict(type='DKDLoss'),
        hint=dict(L2, reads='stage3', connector=dict(type='tas_mm.ConvProjector')),
        rkd=dict(type='DistanceWiseRKD', reads='feature'),
    )
    short = distilled(build_tas, terms=terms).eval()
    explicit = distilled(build_tas, **short.distiller.razor_config()).eval()
    explicit.load_state_dict(short.state_dict())
    explicit.teacher.network.load_state_dict(short.teacher.network.state_dict())
    expected, losses = short(*batch, mode='loss'), explicit(*batch, mode='loss')
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in losses)


def test_only_what_is_read_is_recorded(build_tas):
    distiller = distilled(build_tas, terms=dict(kd=dict(type='KLDivergence'), off=None)).distiller
    assert (set(distiller.razor_config()['student_recorders']), set(distiller.razor_config()['teacher_recorders'])) == (
        {'logits'},
        {'logits'},
    )
    assert not distiller.connectors


@pytest.mark.parametrize('name', NETWORKS)
def test_what_is_observed_has_the_shapes_that_the_view_says(build, name):
    model = build(NETWORKS[name])
    view = view_of(model, (SIZE, SIZE))
    observer = Observer(view, stages=[1, 2, 3, 4])
    seen, _ = observer(model, torch.randn(2, 3, SIZE, SIZE), networks.samples([0, 1]), mode='loss')
    for reading in ('stage1', 'stage2', 'stage3', 'stage4', 'feature', 'logits'):
        assert seen.read(reading).shape[1:] == view.shape(reading), reading


@pytest.mark.parametrize(
    ('term', 'message'),
    [
        (dict(reads='feature'), r"terms.x={'reads': 'feature'}. Expected the config of a loss, with its type"),
        ('KLDivergence', r"terms.x='KLDivergence'. Expected the config of a loss"),
        (dict(type='KLDivergenc'), r"terms.x.type='KLDivergenc' is not registered. Closest names: KLDivergence"),
        (dict(type='L2Loss', reads='stage5'), r"terms.x.reads='stage5'. Expected one of logits, feature, stage1, "),
        (
            dict(type='L2Loss', reads=dict(pupil='stage1')),
            r"terms.x.reads={'pupil': 'stage1'}. Expected one of logits, ",
        ),
        (dict(type='L2Loss', connector='conv'), r"terms.x.connector='conv'. Expected the config of a connector"),
        (
            dict(type='L2Loss', reads='stage1', connector=dict(type='tas_mm.ConvProjectr')),
            r"terms.x.connector.type='tas_mm.ConvProjectr' is not registered. Closest names: tas_mm.ConvProjector",
        ),
        (
            dict(type='L2Loss', reads='feature', connector=dict(type='tas_mm.ConvProjector')),
            r'terms.x.connector: ConvProjector needs in_grid, which only a stage has. Set reads to one of stage1, ',
        ),
        (
            dict(type='L2Loss', reads='level2'),
            r'terms: a loss reads level2, but model.architecture \(ImageClassifier\) has no pyramid. Expected one of',
        ),
        (dict(type='tas_mm.OFALoss', gamma=0), r'model.distiller.distill_losses.loss_x: OFALoss: gamma=0'),
    ],
)
def test_bad_terms_say_where_what_and_what_would_be_valid(build_tas, term, message):
    with pytest.raises(ValueError, match=f'model.distiller.{message}'.replace('model.distiller.model.', 'model.')):
        distilled(build_tas, terms=dict(x=term))


def test_a_term_may_not_take_the_name_of_a_path(build_tas):
    with pytest.raises(ValueError, match='model.distiller.terms.ts_kd: the paths already have a loss_ts_kd'):
        distilled(build_tas, kind='TASDistiller', terms=dict(ts_kd=dict(type='KLDivergence')))


def test_a_pair_without_assistant_validates_student_and_teacher(build_tas, batch):
    algorithm = distilled(build_tas, terms=dict(kd=dict(type='KLDivergence')))
    predicted = algorithm.predict_roles(*batch, roles=['student', 'teacher'])
    assert set(predicted) == {'student', 'teacher'}
