"""MMRazor's own CWD on the pyramid, as it ships it for RetinaNet, between the networks of retinanet_crowns_tas.py.

Make the teacher first: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_mobilenetv2.py
Then: python tools/train.py projects/tree_crowns/configs/retinanet_crowns_cwd.py
"""

_base_ = 'retinanet_crowns_tas.py'

pyramid = dict(fpn=dict(type='ModuleOutputs', source='neck'))
levels = range(4)
model = dict(
    distiller=dict(
        _delete_=True,
        type='mmrazor.ConfigurableDistiller',
        student_recorders=pyramid,
        teacher_recorders=pyramid,
        distill_losses={f'loss_cwd_fpn{i}': dict(type='ChannelWiseDivergence', tau=1, loss_weight=10) for i in levels},
        loss_forward_mappings={
            f'loss_cwd_fpn{i}': dict(
                preds_S=dict(from_student=True, recorder='fpn', data_idx=i),
                preds_T=dict(from_student=False, recorder='fpn', data_idx=i),
            )
            for i in levels
        },
    ),
)
