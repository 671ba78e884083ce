"""configs/tas/swin_to_r18.py with its distiller written out in MMRazor's own format: nothing is inferred.

The same training. A place to start from when one recorder, loss or mapping should be another.
tools/check_config.py --explicit prints this form for any config.
"""

_base_ = 'swin_to_r18.py'


def of(recorder, student, **kwargs):
    return dict(recorder=recorder, from_student=student, **kwargs)


# Feature and logits of each network, and the labels as the student's loss gets them.
f_s, p_s = of('feature', True, data_idx=0), of('logits', True)
f_t, p_t = of('feature', False, data_idx=0), of('logits', False)
f_a, p_a = (of('stage3', True, connector='assistant', connector_idx=i) for i in (0, 1))
y = of('gt_labels', True, data_idx=1)

model = dict(
    distiller=dict(
        student_recorders=dict(
            stage3=dict(type='ModuleOutputs', source='backbone.layer3'),
            feature=dict(type='ModuleInputs', source='head.fc'),
            logits=dict(type='ModuleOutputs', source='head.fc'),
            gt_labels=dict(type='ModuleInputs', source='head.loss_module'),
        ),
        teacher_recorders=dict(
            feature=dict(type='ModuleInputs', source='head.fc'),
            logits=dict(type='ModuleOutputs', source='head.fc'),
        ),
        connectors=dict(
            assistant=dict(
                type='tas_mm.HybridAssistant',
                early='student',
                early_stages=3,
                late_stages=1,
                projector=dict(type='tas_mm.L2GProjector', num_blocks=1),
            )
        ),
        distill_losses=dict(
            loss_ts_nce=dict(type='tas_mm.InfoNCELoss', learner_dim=512, target_dim=768),
            loss_ts_kd=dict(type='tas_mm.OFALoss', gamma=1.0),
            loss_ta_nce=dict(type='tas_mm.InfoNCELoss', learner_dim=768, target_dim=768),
            loss_ta_kd=dict(type='tas_mm.OFALoss', gamma=1.0),
            loss_as_nce=dict(type='tas_mm.InfoNCELoss', learner_dim=512, target_dim=768),
            loss_as_kd=dict(type='tas_mm.OFALoss', gamma=1.0),
        ),
        loss_forward_mappings=dict(
            loss_ts_nce=dict(feat_S=f_s, feat_T=f_t),
            loss_ts_kd=dict(preds_S=p_s, preds_T=p_t, gt_labels=y),
            loss_ta_nce=dict(feat_S=f_a, feat_T=f_t),
            loss_ta_kd=dict(preds_S=p_a, preds_T=p_t, gt_labels=y),
            loss_as_nce=dict(feat_S=f_s, feat_T=f_a),
            loss_as_kd=dict(preds_S=p_s, preds_T=p_a, gt_labels=y),
        ),
    )
)
