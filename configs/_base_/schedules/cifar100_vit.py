"""CIFAR-100, transformer or MLP student: OFA-KD's recipe (arXiv 2310.19444), ImageNet's but for where the rate ends."""

_base_ = 'imagenet_vit.py'

param_scheduler = _base_.param_scheduler
param_scheduler[1]['eta_min'] = 1e-5
