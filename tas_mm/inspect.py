"""Looking at a pair before it is trained: build it by name, describe it, count its costs, take one step.

What ``tools/check_pair.py`` and its siblings share. Nothing here prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as CLASSIFIERS
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from .config import read_config, without_weights
from .models.algorithms import TAS
from .models.algorithms.teacher import teacher_config
from .models.stages import StagedClassifier, view_of
from .models.stages.base import evaluating

Rows = list[tuple[str, ...]]
SOURCES = ('timm', 'mmpretrain')


def available(source: str) -> list[str]:
    """Names of the classifiers that ``timm`` or ``mmpretrain`` has."""
    if source == 'timm':
        import timm

        return timm.list_models()
    from mmpretrain import list_models

    return list_models(task='Image Classification')


def classifier_config(name: str, num_classes: int = 10, **options: Any) -> dict:
    """Config of a classifier without trained weights.

    Args:
        name (str): ``'timm:resnet18'``, of which ``'timm:resnet18.a1_in1k'`` names certain weights,
            ``'mmpretrain:deit-tiny_4xb256_in1k'``, or the path of a config: of a classifier, or of a distillation,
            whose student is meant then.
        num_classes (int): Defaults to 10.
        **options: More arguments of a timm model, such as ``img_size``.

    Raises:
        ValueError: If there is no such classifier.
    """
    source, _, model = name.partition(':')
    if source == 'timm' and model:
        import timm

        if not timm.is_model(model):
            raise ValueError(_unknown(name, source, model))
        return dict(type='TimmClassifier', model_name=model, num_classes=num_classes, pretrained=False, **options)
    if source == 'mmpretrain' and model:
        from mmpretrain import list_models
        from mmpretrain.apis.model import ModelHub

        if model not in list_models():
            raise ValueError(_unknown(name, source, model))
        config = ModelHub.get(model).config
    elif Path(name).is_file():
        config = read_config(name)
    else:
        raise ValueError(f'{name!r} is no file, and neither timm:NAME nor mmpretrain:NAME')
    model_config = _model_of(config)
    preprocessor = config.get('data_preprocessor')
    model_config = model_config.get('architecture', model_config)
    if preprocessor:
        model_config.setdefault('data_preprocessor', preprocessor.to_dict())
    return _with_classes(without_weights(model_config), num_classes)


def build_classifier(name: str, num_classes: int = 10, **options: Any) -> BaseModel:
    """Build a classifier by name, with random weights; see ``classifier_config``."""
    return build_classifier_from(classifier_config(name, num_classes, **options))


def build_classifier_from(config: dict) -> BaseModel:
    """Build a classifier from its config, which is left as it is."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return CLASSIFIERS.build(deepcopy(config))


def _model_of(config: Config) -> dict:
    if not isinstance(config.get('model'), Mapping):
        raise ValueError(f'{config.filename} has no `model`; valid is the config of a network or of a distillation')
    return config.model.to_dict()


def _unknown(name: str, source: str, model: str) -> str:
    near = get_close_matches(model, available(source), n=3, cutoff=0.4)
    return f'{name!r} is no classifier of {source}; nearest: {", ".join(f"{source}:{n}" for n in near) or "none"}'


def _with_classes(config: Any, num_classes: int) -> Any:
    """A config with every ``num_classes`` in it set."""
    if isinstance(config, Mapping):
        return {k: num_classes if k == 'num_classes' else _with_classes(v, num_classes) for k, v in config.items()}
    return [_with_classes(value, num_classes) for value in config] if isinstance(config, list) else config


# ---- a pair ---------------------------------------------------------------------------------------------------------


def build_pair(
    teacher: BaseModel,
    student: BaseModel,
    input_size: tuple[int, int] | None = None,
    assistant: dict | None = None,
) -> TAS:
    """The paper's distillation for two built classifiers."""
    distiller = dict(type='tas_mm.TASDistiller', input_size=input_size, assistant=assistant)
    return TAS(architecture=student, teacher=teacher, distiller=distiller)


def synthetic_batch(
    model: BaseModel, batch_size: int = 2, input_size: tuple[int, int] | None = None
) -> tuple[Tensor, list[DataSample]]:
    """Noise images ``(B, C, H, W)`` and labels, passed through the preprocessor: normalised, mixed if it mixes.

    Args:
        model (BaseModel): A distillation, or a classifier.
        batch_size (int): Defaults to 2.
        input_size (tuple, optional): Height and width. Defaults to what the model was laid out for.
    """
    view = _student_view(model)
    device = next(model.parameters()).device
    size = (batch_size, view.in_channels, *(input_size or view.input_size))
    preprocessor = model.data_preprocessor
    images = torch.randint(0, 256, size) if hasattr(preprocessor, 'mean') else torch.randn(size)
    samples = [DataSample().set_gt_label(i % view.num_classes) for i in range(batch_size)]
    data = preprocessor(dict(inputs=images.to(device), data_samples=samples), training=True)
    return data['inputs'], [sample.to(device) for sample in data['data_samples']]


def _student_view(model: BaseModel) -> StagedClassifier:
    """The view of what trains."""
    view = getattr(getattr(model, 'distiller', None), 'student_view', None)
    return view or view_of(getattr(model, 'architecture', model))


def train_step(
    model: BaseModel,
    batch: tuple[Tensor, list[DataSample]],
    optimizer: OptimWrapper | None = None,
    strict: bool = False,
) -> dict[str, float]:
    """One forward pass, backward pass and optimizer step.

    Args:
        model (BaseModel): A distillation, or a classifier.
        batch (tuple): Images and labels.
        optimizer (OptimWrapper, optional): Defaults to plain SGD.
        strict (bool): Whether every parameter that trains must get a gradient, as DDP demands. Defaults to False.

    Returns:
        dict: The losses by name, their sum ``loss``, ``grad_norm``, and the number of ``unused_parameters``.

    Raises:
        RuntimeError: If a loss or a gradient is not finite, or, if ``strict``, a parameter gets none.
    """
    model.train()
    optimizer = optimizer or OptimWrapper(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-3))
    with optimizer.optim_context(model):
        loss, logs = model.parse_losses(model(*batch, mode='loss'))
    optimizer.backward(loss)
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    if strict and without:
        raise RuntimeError(
            f'{len(without)} parameters that train get no gradient, such as {without[0]}; DDP would need '
            'find_unused_parameters=True'
        )
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise RuntimeError(f'loss={loss.item()} and gradient norm={float(norm)} must be finite')
    optimizer.step()
    optimizer.zero_grad()
    return dict({k: v.item() for k, v in logs.items()}, grad_norm=float(norm), unused_parameters=len(without))


# ---- a config -------------------------------------------------------------------------------------------------------


def build_model(config: Config) -> BaseModel:
    """The model of a training config, with random weights: nothing is downloaded or read but other configs.

    Raises:
        ValueError: If the config has no model.
    """
    model = without_weights(_model_of(config))
    model.pop('teacher_ckpt', None)
    model.pop('teacher_cache', None)  # which is of the trained teacher
    teachers = model.get('teacher')
    if isinstance(teachers, (list, tuple)):
        model['teacher'] = [without_weights(dict(teacher_config(teacher))) for teacher in teachers]
    elif isinstance(teachers, str):
        model['teacher'] = without_weights(dict(teacher_config(teachers)))
    if 'data_preprocessor' in config:
        model.setdefault('data_preprocessor', config.data_preprocessor.to_dict())
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmpretrain')):
        return MMENGINE_MODELS.build(model)


def pipeline_size(config: Config, loader: str = 'train_dataloader') -> tuple[int, int] | None:
    """Height and width of the images that a pipeline gives; None if it leaves them as they are.

    The pipeline is run on a blank image of 375x500 pixels.

    Args:
        config (Config): Of a training, or of a student.
        loader (str): Whose pipeline. Defaults to ``'train_dataloader'``.
    """
    dataset = config[loader].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    transforms = [t for t in dataset.pipeline if not t['type'].startswith('Load')]
    size = (375, 500)
    blank = dict(img=np.zeros((*size, 3), np.uint8), img_shape=size, ori_shape=size, gt_label=0)
    with DefaultScope.overwrite_default_scope(config.get('default_scope', 'mmpretrain')):
        given = tuple(Compose(transforms)(blank)['inputs'].shape[-2:])
    return None if given == size else given


# ---- descriptions ---------------------------------------------------------------------------------------------------


def cut_rows(view: StagedClassifier) -> Rows:
    """Stage, source, channels and grid of the four stages, and the classifier."""
    rows = [(str(i), s.source, str(s.channels), _grid(s.grid)) for i, s in enumerate(view.stages, 1)]
    return [*rows, ('head', view.classifier, str(view.feature_dim), f'{view.num_classes} classes')]


def assistant_rows(algorithm: TAS) -> Rows:
    """The parts of the assistant in order: owner, modules."""
    assistant = getattr(algorithm.distiller, 'assistant', None)
    if assistant is None:
        return [('none', 'no loss needs an assistant')]
    given, wanted = assistant.early.stages[assistant.early_stages - 1], assistant.late.stages[assistant.start - 2]
    shapes = f'{given.channels} @ {_grid(given.grid)} to {wanted.channels} @ {_grid(wanted.grid)}'
    late = f'what follows {wanted.source}, {assistant.late_stages} of its stages and its head'
    return [
        (assistant.early_role, f'up to {given.source}, {assistant.early_stages} of its stages'),
        ('projector', f'{type(assistant.projector).__name__}, {shapes}'),
        (assistant.late_role, late),
    ]


@torch.no_grad()  # class tokens that a map is given have a graph, which the counter stumbles over
def cost_rows(algorithm: TAS) -> Rows:
    """Parameters, how many of them train, and multiply-adds of one image's forward pass, part by part."""
    distiller = algorithm.distiller
    student, teacher = distiller.student_view, distiller.teacher_view
    rows = []
    for role, view in (('teacher', teacher), ('student', student)):
        rows.append((role, *_parameters(view.model), _millions(multiply_adds(view.model, view.images(1)))))
    assistant = getattr(distiller, 'assistant', None)
    if assistant is not None:
        x = _map(assistant.early, assistant.early_stages)
        projector = multiply_adds(assistant.projector, x)
        late = multiply_adds(assistant, x) - projector
        rows.append(('projector', *_parameters(assistant), _millions(projector)))
        rows.append((f'late part, shared with the {assistant.late_role}', '-', '-', _millions(late)))
    others = nn.ModuleList(module for module in distiller.connectors.values() if module is not assistant)
    if len(others):
        rows.append(('connectors', *_parameters(others), '-'))
    rows.append(('losses', *_parameters(distiller.distill_losses), '-'))
    return rows


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count the operations of convolutions and matrix products, two for a multiply-add.

    Attention is written out meanwhile: the counter does not know the fused one of the CPU.
    """
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        yield counter


def multiply_adds(module: nn.Module, *inputs: Any) -> int:
    """Multiply-adds of one forward pass in eval mode, convolutions and matrix products alone."""
    return cost(module, *inputs)[0]


def cost(run: Callable, *inputs: Any, model: nn.Module | None = None) -> tuple[int, int]:
    """Multiply-adds and activations of one forward pass in eval mode, of convolutions and matrix products.

    Args:
        run (callable): What is called with the inputs.
        *inputs: Its inputs.
        model (nn.Module, optional): The module that is to be in eval mode. Defaults to ``run``.

    Returns:
        tuple: Multiply-adds, and elements of the results of these operations (activations as in arXiv 2103.06877).
    """
    activations = _Activations()
    with evaluating(model or run), activations, counting() as counter:
        run(*inputs)
    return counter.get_total_flops() // 2, activations.count


class _Activations(TorchDispatchMode):
    """Counts the elements that the operations give which torch's counter knows."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            self.count += out.numel()
        return out


def describe(algorithm: TAS) -> dict[str, tuple[tuple[str, ...], Rows]]:
    """Everything about a pair as titled tables: title to header and rows."""
    distiller = algorithm.distiller
    tables: dict[str, tuple[tuple[str, ...], Rows]] = {}
    for role, view in (('teacher', distiller.teacher_view), ('student', distiller.student_view)):
        title = f'{role}: {type(view.net).__name__} ({view.family}), images of {_grid(view.input_size)}'
        tables[title] = (('stage', 'ends with', 'channels', 'grid'), cut_rows(view))
    tables['assistant'] = (('of', 'modules'), assistant_rows(algorithm))
    tables['costs'] = (('part', 'parameters', 'training', 'multiply-adds'), cost_rows(algorithm))
    return tables


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as text in columns."""
    lines = [tuple(header), *map(tuple, rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return '\n'.join('  ' + '  '.join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows as a Markdown table."""
    lines = [tuple(header), ('---',) * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(cell.replace('|', '\\|') for cell in line) + ' |' for line in lines)


def _map(view: StagedClassifier, stage: int) -> Tensor:
    info = view.stages[stage - 1]
    return torch.zeros(1, info.channels, *info.grid, device=next(view.model.parameters()).device)


def _grid(grid: tuple[int, int]) -> str:
    return f'{grid[0]}x{grid[1]}'


def _parameters(module: nn.Module) -> tuple[str, str]:
    parameters = list(module.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    return _millions(sum(p.numel() for p in parameters)), _millions(trained)


def _millions(count: int) -> str:
    return f'{count / 1e6:.2f} M'
