"""Detectors of all kinds with thin networks: MMDetection's own configs, made narrow."""

from __future__ import annotations

from mmengine.config import Config

from tas_mm.config import read_config, without_weights
from tas_mm.models import DetectorTAS, Observation, interface_of

CONFIGS = dict(
    retinanet='mmdet::retinanet/retinanet_r18_fpn_1x_coco.py',
    fcos='mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    atss='mmdet::atss/atss_r50_fpn_1x_coco.py',
    rtmdet='mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
    faster_rcnn='mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
    mask_rcnn='mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py',
    detr='mmdet::detr/detr_r50_8xb2-150e_coco.py',
    dino='mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py',
)
WIDTH = 32  # which group norms of 32 groups divide
SWIN = dict(
    type='SwinTransformer', embed_dims=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 8], out_indices=(0, 1, 2, 3)
)


def observe_teacher(algorithm: DetectorTAS, data: dict) -> Observation:
    """Run the teacher as a step of the algorithm does."""
    options = algorithm._teacher_options(**data)
    return algorithm.teacher.observe(data['inputs'], interface_of(algorithm).teacher_observer, **options)


def tiny(kind: str, swin: bool = False) -> dict:
    """Return the model of a thin detector, on a narrow ResNet-18 or a narrow Swin."""
    model = Config(without_weights(read_config(CONFIGS[kind]).model.to_dict()))
    CHANGES[kind](model)
    if kind != 'rtmdet':
        model.backbone.update(depth=18, base_channels=8, stem_channels=8)
        indices = model.backbone.out_indices
        model.neck.in_channels = [8 * 2**i for i in indices]
    if swin:
        model.pop('backbone')
        model.backbone = dict(SWIN, out_indices=indices)
        model.neck.in_channels = [16 * 2**i for i in indices]
    return model.to_dict()


def one_stage(model: Config) -> None:
    """Make neck and head thin."""
    model.neck.out_channels = model.bbox_head.in_channels = model.bbox_head.feat_channels = WIDTH
    model.bbox_head.stacked_convs = 1


def two_stage(model: Config) -> None:
    """Make neck and heads thin, and proposals few."""
    model.neck.out_channels = model.rpn_head.in_channels = model.rpn_head.feat_channels = WIDTH
    for name in ('bbox', 'mask'):
        if f'{name}_head' in model.roi_head:
            model.roi_head[f'{name}_roi_extractor'].out_channels = model.roi_head[f'{name}_head'].in_channels = WIDTH
    model.roi_head.bbox_head.fc_out_channels = WIDTH
    if 'mask_head' in model.roi_head:
        model.roi_head.mask_head.update(conv_out_channels=WIDTH, num_convs=1)
    model.train_cfg.rpn_proposal.update(nms_pre=100, max_per_img=20)
    model.train_cfg.rcnn.sampler.num = 16
    model.test_cfg.rpn.update(nms_pre=100, max_per_img=20)


def rtmdet(model: Config) -> None:
    """Make all parts thin."""
    model.backbone.update(widen_factor=0.125, norm_cfg=dict(type='BN'))
    model.neck.update(in_channels=[32, 64, 128], out_channels=WIDTH, norm_cfg=dict(type='BN'))
    model.bbox_head.update(in_channels=WIDTH, feat_channels=WIDTH, stacked_convs=1, norm_cfg=dict(type='BN'))


def detr(model: Config) -> None:
    """Take one layer each, and few queries."""
    model.num_queries = 10
    for part in (model.encoder, model.decoder):
        part.num_layers = 1
    if 'dn_cfg' in model:  # DINO
        model.dn_cfg.group_cfg.num_dn_queries = 10


CHANGES = dict(
    **dict.fromkeys(('retinanet', 'fcos', 'atss'), one_stage),
    **dict.fromkeys(('faster_rcnn', 'mask_rcnn'), two_stage),
    **dict.fromkeys(('detr', 'dino'), detr),
    rtmdet=rtmdet,
)
