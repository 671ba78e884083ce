"""The paper's ablation A: without L2G's attention and the teacher's stage 4.

Swin-T to ResNet-18 on CIFAR-100 at 224 px; all else is configs/tas/swin_to_r18_cifar100.py.
The paper has 75.95 top-1; 81.61 in full.
Launch as that one:   tools/dist_train.sh configs/ablations/a_no_attention_no_late_stage.py 8
"""

_base_ = '../tas/swin_to_r18_cifar100.py'

model = dict(distiller=dict(assistant=dict(late_stages=0, projector=dict(num_blocks=0))))
