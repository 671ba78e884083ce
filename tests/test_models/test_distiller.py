"""The distiller: short form, switches, MMRazor's explicit form, and errors that say where."""

import pytest
import torch
from mmpretrain.structures import DataSample

from tas_mm.models import view_of
from tas_mm.models.knowledge import labels_of
from tests import networks
from tests.networks import SIZE


def distilled(build_tas, **kwargs):
    return build_tas(networks.resnet(), networks.swin(), distiller=dict(type='tas_mm.TASDistiller', **kwargs)).distiller


def losses_of(build_tas, **kwargs):
    return set(distilled(build_tas, **kwargs).distill_losses)


ALL = {f'loss_{path}_{loss}' for path in ('ts', 'ta', 'as') for loss in ('nce', 'kd')}


def test_nothing_but_the_type_gives_the_paper(build_tas):
    distiller = distilled(build_tas)
    assert set(distiller.distill_losses) == ALL
    assert set(distiller.connectors) == {'assistant'}
    assert set(distiller.razor_config()['student_recorders']) == {'feature', 'logits', 'stage3'}
    assert set(distiller.razor_config()['teacher_recorders']) == {'feature', 'logits'}
    assert {type(loss).__name__ for loss in distiller.distill_losses.values()} == {'InfoNCELoss', 'OFALoss'}


@pytest.mark.parametrize(
    ('options', 'losses'),
    [
        (dict(paths=dict(TA=0)), ALL - {'loss_ta_nce', 'loss_ta_kd'}),  # C
        (dict(paths=dict(AS=0)), ALL - {'loss_as_nce', 'loss_as_kd'}),
        (dict(paths=dict(TS=0)), ALL - {'loss_ts_nce', 'loss_ts_kd'}),
        (dict(feature_loss=None), {name for name in ALL if name.endswith('kd')}),  # F
        (dict(logit_loss=None), {name for name in ALL if name.endswith('nce')}),  # G
    ],
)
def test_ablations_of_paths_and_losses_are_switches(build_tas, options, losses):
    assert losses_of(build_tas, **options) == losses


@pytest.mark.parametrize(
    ('assistant', 'blocks', 'start'),
    [
        (dict(late_stages=0, projector=dict(num_blocks=0)), 0, 5),  # A: neither L2G's attention nor the late stage
        (dict(late_stages=0), 1, 5),  # B: no late stage
        (dict(early_stages=2, late_stages=2), 1, 3),
        (dict(early_stages=1, late_stages=3), 1, 2),
    ],
)
def test_ablations_of_the_assistant_are_switches(build_tas, batch, assistant, blocks, start):
    algorithm = build_tas(
        networks.resnet(), networks.swin(), distiller=dict(type='tas_mm.TASDistiller', assistant=assistant)
    )
    built = algorithm.distiller.assistant
    assert len(built.projector.blocks) == blocks
    assert built.start == start
    calls = []
    algorithm.teacher.network.backbone.stages[3].register_forward_hook(lambda *args: calls.append(1))
    losses = algorithm(*batch, mode='loss')
    assert len(calls) == (1 if start == 5 else 2)
    algorithm.parse_losses(losses)[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)


def test_without_teacher_to_assistant_nothing_trains_the_projector_and_ddp_is_not_told_otherwise(build_tas, batch):
    algorithm = build_tas(
        networks.resnet(), networks.swin(), distiller=dict(type='tas_mm.TASDistiller', paths=dict(TA=0))
    )
    assert not any(p.requires_grad for p in algorithm.distiller.assistant.parameters())
    algorithm.parse_losses(algorithm(*batch, mode='loss'))[0].backward()
    assert all(p.grad is not None for p in algorithm.parameters() if p.requires_grad)
    kept = distilled(build_tas, paths=dict(TA=0), logit_loss=dict(type='tas_mm.OFALoss', detach_target=False))
    assert all(p.requires_grad for p in kept.assistant.parameters())


def test_who_learns_from_whom(build_tas, batch, monkeypatch):
    """The paper's three paths, feature by feature and logits by logits."""
    algorithm = build_tas(networks.resnet(), networks.swin())
    distiller, compared = algorithm.distiller, {}
    known = dict(teacher=algorithm.teacher.observe(batch[0], distiller.teacher_observer))
    known['student'], _ = distiller.student_observer(algorithm.student, batch[0], mode='tensor')
    distiller.assistant.register_forward_hook(lambda module, args, output: known.update(assistant=output))
    monkeypatch.setattr(distiller, 'compare', lambda name, *sides: compared.update({name: sides}) or sides[0].sum())
    distiller(known['student'], known['teacher'], torch.arange(4))
    paths = {'ts': ('student', 'teacher'), 'ta': ('assistant', 'teacher'), 'as': ('student', 'assistant')}
    for path, roles in paths.items():
        for kind, reading in (('nce', 'feature'), ('kd', 'logits')):
            sides = compared[f'loss_{path}_{kind}'][:2]
            assert all(side is getattr(known[role], reading) for side, role in zip(sides, roles)), (path, kind)


def test_without_the_assistants_paths_there_is_no_assistant(build_tas):
    distiller = distilled(build_tas, paths=dict(TA=0, AS=0))
    assert distiller.assistant is None
    assert 'stage3' not in distiller.razor_config()['student_recorders']


def test_weights_of_paths_and_losses_multiply(build_tas):
    distiller = distilled(build_tas, paths=dict(TA=0.5), feature_loss=dict(type='tas_mm.InfoNCELoss', loss_weight=3.0))
    weights = {name: loss.loss_weight for name, loss in distiller.distill_losses.items()}
    assert weights['loss_ta_nce'] == 1.5
    assert weights['loss_ta_kd'] == 0.5
    assert weights['loss_as_nce'] == 3.0


@pytest.mark.parametrize('loss', ['KLDivergence', 'DISTLoss', 'DKDLoss'])
def test_mmrazors_losses_fit_in_place_of_ofa(build_tas, batch, loss):
    algorithm = build_tas(
        networks.resnet(), networks.swin(), distiller=dict(type='tas_mm.TASDistiller', logit_loss=dict(type=loss))
    )
    losses = algorithm(*batch, mode='loss')
    assert type(algorithm.distiller.distill_losses.loss_ts_kd).__name__ == loss
    assert all(torch.isfinite(value) for value in losses.values())


def test_explicit_mmrazor_form_equals_the_short_one(build_tas, batch):
    """The inferred config, given back to the distiller, produces the same losses from the same weights."""
    short = build_tas(networks.resnet(), networks.swin(drop_path_rate=0.0)).eval()
    config = short.distiller.razor_config()
    assert config['loss_forward_mappings']['loss_ts_kd']['gt_labels'] == dict(recorder='gt_labels', from_student=True)
    explicit = build_tas(
        networks.resnet(),
        networks.swin(drop_path_rate=0.0),
        distiller=dict(type='tas_mm.TASDistiller', feature_loss=None, logit_loss=None, **config),
    ).eval()
    explicit.load_state_dict(short.state_dict())
    explicit.teacher.network.load_state_dict(short.teacher.network.state_dict())
    expected, losses = short(*batch, mode='loss'), explicit(*batch, mode='loss')
    assert losses.keys() == expected.keys()
    assert all(torch.equal(losses[name], expected[name]) for name in losses)


def test_a_loss_of_ones_own_may_read_any_record(build_tas, batch):
    """A feature loss on stage 4, beside a path of the paper's; only the recorders that are read are made."""
    algorithm = build_tas(
        networks.resnet(),
        networks.swin(),
        distiller=dict(
            type='tas_mm.TASDistiller',
            student_recorders=dict(stage4=dict(type='ModuleOutputs', source='backbone.layer4')),
            teacher_recorders=dict(stage4=dict(type='ModuleOutputs', source='backbone.stages.3')),
            distill_losses=dict(loss_l2=dict(type='L2Loss')),
            loss_forward_mappings=dict(
                loss_l2=dict(
                    s_feature=dict(recorder='stage4', from_student=True),
                    t_feature=dict(recorder='stage4', from_student=True),
                )
            ),
        ),
    )
    losses = algorithm(*batch, mode='loss')
    assert losses['distill.loss_l2'].item() == 0
    assert algorithm.distiller.assistant is None


def test_the_assistants_state_is_the_projector_alone(build_tas):
    assistant = distilled(build_tas).assistant
    assert assistant.state_dict().keys() == {f'projector.{key}' for key in assistant.projector.state_dict()}
    assert {id(p) for p in assistant.parameters()} == {id(p) for p in assistant.projector.parameters()}


def test_the_paper_sized_projector_has_the_papers_size(build):
    """7.9 M parameters for Swin-T to ResNet-18: a 2x2 patch embedding of 256 to 768 and one Swin block of width 768."""
    from tas_mm.models import L2GProjector

    projector = L2GProjector(256, 768, (14, 14), (7, 7))
    assert sum(p.numel() for p in projector.parameters()) == pytest.approx(7.9e6, rel=0.01)
    assert projector(torch.randn(1, 256, 14, 14)).shape == (1, 768, 7, 7)


def test_the_light_projector_is_a_tenth_of_it(build):
    """A quarter as wide; its output starts as large as that of the wide one, which ends in a normalized sum."""
    from tas_mm.models import L2GProjector

    wide, light = (L2GProjector(256, 768, (14, 14), (7, 7), width_ratio=ratio) for ratio in (1, 0.25))
    sizes = [sum(p.numel() for p in projector.parameters()) for projector in (wide, light)]
    assert sizes[1] < sizes[0] / 9.9
    x = torch.randn(1, 256, 14, 14)
    wide.init_weights()
    light.init_weights()
    assert light(x).shape == wide(x).shape
    assert 0.5 < light(x).std() / wide(x).std() < 2


@pytest.mark.parametrize('token', ['own', 'mean', None])
def test_what_the_class_token_of_the_late_part_starts_from(build_tas, batch, token):
    assistant = dict(class_token=token) if token else {}
    algorithm = build_tas(
        networks.resnet(), networks.vit(), distiller=dict(type='tas_mm.TASDistiller', assistant=assistant)
    )
    seen = []
    last = algorithm.teacher.network.backbone.layers[-1]  # the only block of stage 4
    last.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    algorithm(*batch, mode='loss')
    own, assistants = seen
    first, rest = assistants[:, 0], assistants[:, 1:]
    wanted = algorithm.teacher.network.backbone.cls_token[0].expand(4, -1) if token == 'own' else rest.mean(dim=1)
    torch.testing.assert_close(first, wanted)
    assert own.shape == assistants.shape


def test_without_a_late_stage_the_class_token_still_sees_the_image(build_tas, batch):
    """Ablations A and B: no block would carry anything of the image to the class token, which the head reads alone."""
    distiller = dict(type='tas_mm.TASDistiller', assistant=dict(late_stages=0))
    algorithm = build_tas(networks.resnet(), networks.vit(), distiller=distiller)
    inputs, samples = batch
    assistant = algorithm.predict_roles(inputs, samples, roles=['assistant'])['assistant']
    scores = torch.stack([sample.pred_score for sample in assistant])
    assert not torch.allclose(scores[0], scores[1])


def test_mmrazors_losses_are_float32_under_autocast_too(build_tas, batch):
    """The loss gets float32 and autocast does not touch what it computes; the assistant still runs in bfloat16."""
    algorithm = build_tas(
        networks.resnet(),
        networks.swin(),
        distiller=dict(type='tas_mm.TASDistiller', logit_loss=dict(type='KLDivergence', tau=4)),
    )
    seen, late = [], []
    loss = algorithm.distiller.distill_losses['loss_ta_kd']
    loss.register_forward_pre_hook(lambda module, args: seen.append((args, torch.is_autocast_enabled('cpu'))))
    algorithm.distiller.assistant.register_forward_hook(lambda module, args, output: late.append(output.logits.dtype))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = algorithm(*batch, mode='loss')
    ((given, autocast),) = seen
    assert not autocast
    assert late == [torch.bfloat16]
    assert {x.dtype for x in given if x.is_floating_point()} == {torch.float32}
    assert {value.dtype for name, value in losses.items() if name.startswith('distill.')} == {torch.float32}


@pytest.mark.parametrize('grids', [((7, 7), (14, 14)), ((9, 9), (4, 4)), ((8, 6), (4, 3)), ((4, 4), (4, 4))])
@pytest.mark.parametrize('name', ['L2GProjector', 'ConvProjector', 'LinearProjector'])
def test_projectors_give_the_grid_that_the_late_part_wants(name, grids):
    import tas_mm.models

    projector = getattr(tas_mm.models, name)(6, 12, *grids)
    assert projector(torch.randn(2, 6, *grids[0])).shape == (2, 12, *grids[1])


def test_the_assistant_is_made_of_both_networks_own_modules(build_tas, batch):
    """Its logits, by hand: student's stages 1 to 3, projector, teacher's stage 4, norm, pool, head."""
    algorithm = build_tas(networks.resnet(), networks.swin()).eval()
    s, t, projector = algorithm.student.backbone, algorithm.teacher.network, algorithm.distiller.assistant.projector
    with torch.no_grad():
        x = s.maxpool(s.relu(s.norm1(s.conv1(batch[0]))))
        x = projector(s.layer3(s.layer2(s.layer1(x))))
        tokens, _ = t.backbone.stages[3](x.flatten(2).transpose(1, 2), (2, 2))
        expected = t.head.fc(t.backbone.norm3(tokens).mean(1))
        predicted = algorithm.predict_roles(*batch, roles=['assistant'])['assistant']
    torch.testing.assert_close(torch.stack([p.pred_score for p in predicted]), expected.softmax(1))


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(paths={'tx': 1}), r"model.distiller.paths: unknown path 'tx'. Expected one of TS, TA, AS"),
        (dict(assistant=dict(early_stages=7)), r'model.distiller.assistant.early_stages=7. Expected one of 1, 2, 3, 4'),
        (dict(assistant=dict(late_stages=4)), r'assistant.late_stages=4. Expected one of 0, 1, 2, 3'),
        (dict(assistant=dict(early='pupil')), r"assistant.early='pupil'. Expected one of None, 'student', 'teacher'"),
        (
            dict(logit_loss=dict(type='tas_mm.OFALos')),
            r"model.distiller.logit_loss.type='tas_mm.OFALos' is not registered. Closest names: tas_mm.OFALoss",
        ),
        (dict(feature_loss=dict(type='InfoNCE')), r"model.distiller.feature_loss.type='InfoNCE' is not registered"),
        (
            dict(student_recorders=dict(stage3=dict(type='ModuleOutputs', source='backbone.layer9'))),
            r"student_recorders.stage3.source='backbone.layer9' is not a module of model.architecture. Closest names: ",
        ),
        (
            dict(
                distill_losses=dict(loss_x=dict(type='L2Loss')),
                loss_forward_mappings=dict(
                    loss_x=dict(
                        s_feature=dict(recorder='stage9', from_student=True),
                        t_feature=dict(recorder='feature', from_student=False),
                    )
                ),
            ),
            r"loss_forward_mappings.loss_x.s_feature.recorder='stage9'. Expected one of .*student_recorders",
        ),
        (
            dict(
                loss_forward_mappings=dict(
                    loss_y=dict(preds_S=dict(recorder='logits', from_student=True)),
                )
            ),
            r'loss_forward_mappings.loss_y: no such loss. Expected one of loss_ts_nce',
        ),
        (
            dict(connectors=dict(assistant=dict(type='HybridAsistant'))),
            r"model.distiller.connectors.assistant.type='HybridAsistant' is not registered",
        ),
        (dict(loss_forward_mappings=[1]), r'model.distiller.loss_forward_mappings=\[1\]. Expected a dict'),
        (dict(teacher_size=4), r'images of 4x4 do not fit SwinTransformer'),
        (dict(input_size='64'), r"model.distiller.input_size='64'. Expected a number of pixels"),
        (dict(paths=dict(TS='1')), r"model.distiller.paths.TS='1'. Expected a number"),
        (
            dict(logit_loss=dict(type='OFALos')),
            r"logit_loss.type='OFALos' is not registered. Closest names: tas_mm.OFALoss",
        ),
        (dict(logit_loss=dict(gamma=0.5)), r'model.distiller.distill_losses.loss_ts_kd: .*gamma=0.5'),
        (dict(feature_loss=dict(temperature=0)), r'model.distiller.distill_losses.loss_ts_nce: .*temperature=0'),
        (
            dict(assistant=dict(projector=dict(type='tas_mm.L2GProjectr'))),
            r"assistant.projector.type='tas_mm.L2GProjectr' is not registered. Closest names: tas_mm.L2GProjector",
        ),
        (dict(assistant=dict(projector=dict(num_blocks=-1))), r'num_blocks=-1'),
        (dict(assistant=dict(projector=dict(width_ratio=0))), r'width_ratio=0. Expected a positive number'),
        (dict(assistant=dict(class_token='max')), r"assistant.class_token='max'. Expected one of 'own', 'mean'"),
        (
            dict(distill_losses=dict(loss_x=dict(type='L2Loss')), loss_forward_mappings={}),
            r'model.distiller.distill_losses.loss_x has no entry in loss_forward_mappings',
        ),
        (
            dict(
                distill_losses=dict(loss_x=dict(type='tas_mm.OFALoss'), loss_y=dict(type='L2Loss')),
                loss_forward_mappings=dict(
                    loss_x=dict(
                        preds_S=dict(recorder='logits', from_student=True),
                        preds_T=dict(recorder='logits', from_student=False),
                        gt_labels=dict(recorder='gt_labels', from_student=True, data_idx=1),
                    )
                ),
            ),
            r'distill_losses.loss_y has no entry in loss_forward_mappings',
        ),
        (
            dict(
                distill_losses=dict(loss_x=dict(type='tas_mm.OFALoss')),
                loss_forward_mappings=dict(
                    loss_x=dict(
                        preds_S=dict(recorder='logits', from_student=True),
                        gt_labels=dict(recorder='gt_labels', from_student=True),
                    )
                ),
            ),
            r"loss_forward_mappings.loss_x lacks 'preds_T', which OFALoss needs. Got preds_S, gt_labels",
        ),
    ],
)
def test_bad_config_says_where_what_and_what_would_be_valid(build_tas, options, message):
    with pytest.raises(ValueError, match=message):
        distilled(build_tas, **options)


def test_early_side_can_be_overridden(build_tas, batch):
    algorithm = build_tas(
        networks.resnet(),
        networks.swin(),
        distiller=dict(type='tas_mm.TASDistiller', assistant=dict(early='teacher')),
    )
    assistant = algorithm.distiller.assistant
    assert assistant.early.model is algorithm.teacher.network
    assert type(assistant.projector).__name__ == 'ConvProjector'
    algorithm.parse_losses(algorithm(*batch, mode='loss'))[0].backward()


def test_views_look_at_the_networks_that_train(build_tas):
    algorithm = build_tas(networks.resnet(), networks.swin())
    assert algorithm.distiller.student_view.model is algorithm.student
    assert algorithm.distiller.teacher_view.model is algorithm.teacher.network
    assert view_of(algorithm.student, (SIZE, SIZE)).stages == algorithm.distiller.student_view.stages


def test_an_assistant_given_as_connector_has_the_word_on_its_options(build_tas, batch):
    connectors = dict(assistant=dict(type='tas_mm.HybridAssistant', early_stages=2, late_stages=2))
    algorithm = build_tas(
        networks.resnet(), networks.swin(), distiller=dict(type='tas_mm.TASDistiller', connectors=connectors)
    )
    assert 'stage2' in algorithm.distiller.razor_config()['student_recorders']
    algorithm(*batch, mode='loss')


@pytest.mark.parametrize('loss', ['tas_mm.OFALoss', 'DKDLoss', 'KLDivergence'])
def test_mixed_labels_reach_every_loss_as_it_wants_them(build_tas, batch, loss):
    student = dict(networks.resnet(), train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)))
    distiller = dict(type='tas_mm.TASDistiller', logit_loss=dict(type=loss))
    preprocessor = dict(mean=[0.0] * 3, std=[1.0] * 3, num_classes=5)
    algorithm = build_tas(student, networks.swin(), distiller=distiller, data_preprocessor=preprocessor)
    data = algorithm.data_preprocessor(dict(inputs=batch[0], data_samples=batch[1]), True)
    assert 'gt_score' in data['data_samples'][0]
    assert all(torch.isfinite(value) for value in algorithm(**data, mode='loss').values())


def test_of_mixed_labels_the_larger_part_counts():
    shares = ([0.2, 0.0, 0.8], [0.7, 0.3, 0.0])
    assert labels_of([DataSample().set_gt_score(torch.tensor(share)) for share in shares]).tolist() == [2, 0]


def test_gray_student_and_color_teacher_are_refused(build_tas):
    student = networks.resnet()
    student['backbone']['in_channels'] = 1
    with pytest.raises(ValueError, match='model.teacher takes images of 3 channels and model.architecture of 1'):
        build_tas(student, networks.swin())
