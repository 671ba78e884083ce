"""Losses that compare maps at strides 8 and 16 place by place: a detector reads places, a pooled feature has none."""

cosine = dict(
    type='tas_mm.CosineSmoothL1Loss', hidden_ratio=None, cosine_weight=1.0, smooth_l1_weight=0.0, loss_weight=2.0
)
maps = dict(stride8=dict(cosine, reads='stage2'), stride16=dict(cosine, reads='stage3'))
