"""PAT: the student's stages through attention against a prompted teacher's, and plain KD (ICCV 2025, arXiv 2501.08885).

All weights 1, 64 regions and an attention of width 512, the authors' for every pair.
"""

distiller = dict(
    type='projects.pat.PATDistiller',
    terms=dict(kd=dict(type='mmrazor.KLDivergence', tau=1.0, loss_weight=1.0)),
    pat=dict(dim=512, num_queries=64, feature_weight=1.0, prompt_weight=1.0),
)
