"""OFA-KD: an exit after every stage of the student, and its logits, against the teacher's (arXiv 2310.19444).

Weight 1, temperature 1 and gamma 1 everywhere, the authors' for CIFAR-100. On ImageNet they take a larger gamma (1.5
for DeiT-T to ResNet-18).
"""


def ofa(**options):
    return dict(type='tas_mm.OFALoss', gamma=1.0, tau=1.0, loss_weight=1.0, **options)


def exit_after(stage):
    return ofa(reads=dict(student=stage), connector=dict(type='tas_mm.ExitBranch'))


distiller = dict(
    type='tas_mm.PairDistiller',
    terms=dict(
        logits=ofa(),
        exit1=exit_after('stage1'),
        exit2=exit_after('stage2'),
        exit3=exit_after('stage3'),
        exit4=exit_after('stage4'),
    ),
)
