"""One training step on noise, to try a config or a pair before training."""

from __future__ import annotations

import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, DefaultScope
from mmpretrain.structures import DataSample
from torch import Tensor, nn

from tas_mm.config import model_of, without_weights
from tas_mm.models import TAS
from tas_mm.models.distillers import interface_of
from tas_mm.models.stages import view_of
from tas_mm.models.teachers import teacher_config

Batch = tuple[Tensor, list[DataSample]]


def build_pair(
    teacher: BaseModel,
    student: BaseModel,
    input_size: tuple[int, int] | None = None,
    assistant: dict | None = None,
) -> TAS:
    """Build the paper's distillation for two built classifiers.

    Args:
        teacher (BaseModel): Teacher.
        student (BaseModel): Student.
        input_size (tuple, optional): Height and width of the images. Defaults to None: the size that the networks
            declare.
        assistant (dict, optional): Options of the hybrid assistant. Defaults to None.
    """
    distiller = dict(type='tas_mm.TASDistiller', input_size=input_size, assistant=assistant)
    return TAS(architecture=student, teacher=teacher, distiller=distiller)


def untrained_model(config: Config) -> dict:
    """Return the model of a training config without the options that load weights.

    Raises:
        ValueError: If the config does not have a model.
    """
    model = without_weights(model_of(config))
    model.pop('teacher_ckpt', None)
    model.pop('teacher_cache', None)  # belongs to the trained teacher
    teachers = model.get('teacher')
    if isinstance(teachers, (list, tuple)):
        model['teacher'] = [without_weights(dict(teacher_config(teacher))) for teacher in teachers]
    elif isinstance(teachers, str):
        model['teacher'] = without_weights(dict(teacher_config(teachers)))
    if 'data_preprocessor' in config:
        model.setdefault('data_preprocessor', config.data_preprocessor.to_dict())
    return model


def build_model(config: Config) -> BaseModel:
    """Build the model of a training config with random weights. It downloads nothing, and only reads other configs.

    Raises:
        ValueError: If the config does not have a model.
    """
    model = untrained_model(config)
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmpretrain')):
        return MODELS.build(model)


def synthetic_batch(
    model: BaseModel, batch_size: int = 2, input_size: tuple[int, int] | None = None, labeled: bool = True
) -> Batch:
    """Draw noise images ``(B, C, H, W)`` and labels, and preprocess them (normalize, and mix if the model mixes).

    Args:
        model (BaseModel): A distillation, or a classifier.
        batch_size (int): Number of images. Defaults to 2.
        input_size (tuple, optional): Height and width. Defaults to None: the size that the model is built for.
        labeled (bool): Whether images have labels, if the student has classes. Defaults to True.
    """
    view = interface_of(model).student_view or view_of(getattr(model, 'architecture', model))
    device = next(model.parameters()).device
    size = (batch_size, view.in_channels, *(input_size or view.input_size))
    preprocessor = model.data_preprocessor
    images = torch.randint(0, 256, size) if hasattr(preprocessor, 'mean') else torch.randn(size)
    samples = [DataSample() for _ in range(batch_size)]
    if labeled and view.num_classes:
        samples = [sample.set_gt_label(i % view.num_classes) for i, sample in enumerate(samples)]
    data = preprocessor(dict(inputs=images.to(device), data_samples=samples), training=True)
    return data['inputs'], [sample.to(device) for sample in data['data_samples']]


def train_step(
    model: BaseModel, batch: Batch, optimizer: OptimWrapper | None = None, strict: bool = False
) -> dict[str, float]:
    """Run one forward pass, backward pass and optimizer step.

    Args:
        model (BaseModel): A distillation, or a classifier.
        batch (tuple): Images and labels.
        optimizer (OptimWrapper, optional): The optimizer. Defaults to None: plain SGD.
        strict (bool): Whether every trained parameter must get a gradient, as in DDP. Defaults to False.

    Returns:
        dict: Losses by name, their sum ``loss``, ``grad_norm``, and the number of ``unused_parameters``.

    Raises:
        RuntimeError: If a loss or a gradient is not finite, or, if ``strict``, a parameter gets no gradient.
    """
    model.train()
    optimizer = optimizer or OptimWrapper(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3))
    with optimizer.optim_context(model):
        loss, logs = model.parse_losses(model(*batch, mode='loss'))
    optimizer.backward(loss)
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if strict and without:
        raise RuntimeError(
            f'{len(without)} trained parameters get no gradient, such as {without[0]}. DDP would need '
            'find_unused_parameters=True'
        )
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise RuntimeError(f'loss={loss.item()} and gradient norm={float(norm)} must be finite')
    optimizer.step()
    optimizer.zero_grad()
    return dict({k: v.item() for k, v in logs.items()}, grad_norm=float(norm), unused_parameters=len(without))
