"""Export a student to timm, ONNX, torch.export or TorchScript, or its backbone for detectors and segmentors.

Before a file is written, its outputs are compared with the student's on noise, at another batch size than it was traced
with.
"""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import BaseModel
from torch import Tensor, nn

from tas_mm.config import channel_order, pipeline_size
from tas_mm.models.sources import TIMM, source_of
from tas_mm.models.stages import image_channels, view_of
from tas_mm.models.utils import DEFAULT_SIZE

from .embedding import Embedding, gives_logits
from .weights import build_student

TOLERANCE = 1e-4
"""Largest allowed difference of the output: absolute, or relative to the largest value if that exceeds 1."""


def export(
    checkpoint: Mapping[str, Any],
    form: str,
    input_size: tuple[int, int] | None = None,
    projection: nn.Module | None = None,
    kind: str | None = None,
) -> tuple[bytes, float]:
    """Convert a student to another form. Without a head its output is the feature instead of logits.

    Args:
        checkpoint (mapping): The student, from :func:`read_student`.
        form (str): One of ``FORMS``.
        input_size (tuple, optional): Height and width of its images. Defaults to None: the size of its test pipeline,
            of the distillation, or of its network. If none is known, graphs raise, and other forms are compared at
            224x224.
        projection (nn.Module, optional): Projection of the feature. The output of a graph is then its ``embedding``.
            Defaults to None.
        kind (str, optional): Kind of feature that the projection reads; see :func:`read_projection`. Defaults to None.

    Returns:
        tuple: The bytes of the file, and the largest difference of its output from the student's.

    Raises:
        ValueError: If the form is not possible for the student, if its image size is unknown, if the output differs, or
            if the projection does not fit.
        ImportError: If packages that the form needs are not installed.

    Examples:
        >>> from mmengine import Config
        >>> from tas_mm.recipes.sources import build_classifier, classifier_config
        >>> from tas_mm.student import student_checkpoint, student_config
        >>> from tas_mm.student.export import export
        >>> name = 'timm:resnet18'
        >>> config = student_config(Config(dict(model=classifier_config(name))))
        >>> checkpoint = student_checkpoint(dict(state_dict=build_classifier(name).state_dict()), config)
        >>> file, difference = export(checkpoint, 'timm', (64, 64))
        >>> difference < 1e-4
        True
    """
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    if config.default_scope == 'mmdet':
        raise ValueError(
            'the student is a detector, which has no logits to compare. Use the file student_*.pth beside the '
            'checkpoint, which MMDetection loads'
        )
    if projection is not None and form not in GRAPHS:
        raise ValueError(f'--projection is a part of a graph. Expected --to {" or ".join(GRAPHS)}')
    model = build_student(checkpoint)
    images = _noise(model, input_size or _size_of(model, config, form))
    model = _with_output(model, images, projection, kind)
    with torch.no_grad():
        wanted = model(images)
    data, output = FORMS[form](model, checkpoint, images)
    difference = float((output - wanted).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise ValueError(
            f'as {form} its {_output_name(model)} would differ by up to {difference:.2g}. Expected {TOLERANCE} or '
            f'less. The student uses an operation that {form} cannot represent'
        )
    return data, difference


def _with_output(
    model: BaseModel, images: Tensor, projection: nn.Module | None = None, kind: str | None = None
) -> nn.Module:
    """Return the student if it gives logits, else a network that gives its feature or embedding."""
    size = tuple(images.shape[-2:])
    return model if projection is None and gives_logits(model, size) else Embedding(model, size, projection, kind)


def _output_name(model: nn.Module) -> str:
    """Return the name of a network's output: logits, feature, or embedding."""
    if not isinstance(model, Embedding):
        return 'logits'
    return 'feature' if model.projection is None else 'embedding'


def _size_of(model: BaseModel, config: Config, form: str) -> tuple[int, int]:
    """Return height and width of a student's images, from its test pipeline or its network."""
    size = pipeline_size(config, 'test_dataloader') if 'test_dataloader' in config else config.get('input_size')
    size = (size, size) if isinstance(size, int) else size
    size = size or view_of(model).declared_size()
    if size is None and form in GRAPHS:
        raise ValueError(
            'a graph takes images of one size, but neither test pipeline nor network gives it. Set it with '
            '--input-size HEIGHT WIDTH'
        )
    return size or DEFAULT_SIZE


def _noise(model: BaseModel, input_size: tuple[int, int]) -> Tensor:
    """Return three fixed random normalized images ``(3, C, H, W)``."""
    try:
        channels = view_of(model, input_size).in_channels
    except ValueError:  # networks without a stage view can be exported too
        channels = image_channels(model)
    return torch.randn(3, channels, *input_size, generator=torch.Generator().manual_seed(0))


def _saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _about(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> dict[str, str]:
    """Return the metadata of a graph as JSON, enough to use it without this package.

    Keys: ``classes``; ``mean`` and ``std``, for pixels in ``range``; the ``order`` of the channels; ``layout`` and
    ``size`` (height, width) of the images.
    """
    about = dict(classes=checkpoint['meta']['dataset_meta'].get('classes'), range=[0, 255], layout='NCHW')
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    to_rgb = getattr(model.data_preprocessor, 'to_rgb', False)
    about.update(size=list(images.shape[-2:]), order=channel_order(config, 'test_dataloader', to_rgb, images.size(1)))
    if hasattr(model.data_preprocessor, 'mean'):
        about.update({key: getattr(model.data_preprocessor, key).flatten().tolist() for key in ('mean', 'std')})
    return {key: json.dumps(value) for key, value in about.items()}


# ---- MMPretrain, detectors, segmentors ------------------------------------------------------------------------------


def to_mmpretrain(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Return the student's file, the same as ``ExportStudentHook`` writes."""
    return _reloaded(dict(checkpoint), checkpoint, images)


def to_backbone(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Return the student's backbone, for ``init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')``."""
    state = {key: value for key, value in checkpoint['state_dict'].items() if key.startswith('backbone.')}
    if not state:
        raise ValueError(
            f'a {type(model).__name__} does not have a backbone of its own. For a timm network in a detector, distill '
            'an ImageClassifier with a TIMMBackbone. Other forms: mmpretrain, timm, onnx, export'
        )
    return _reloaded(dict(checkpoint, state_dict=state), checkpoint, images)


def _reloaded(value: dict[str, Any], checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Return a file, and the logits of a student built from it. The student completes what the file lacks."""
    data = _saved(value)
    loaded = torch.load(io.BytesIO(data), weights_only=True)
    state = {**checkpoint['state_dict'], **loaded['state_dict']}
    with torch.no_grad():
        return data, _with_output(build_student(dict(loaded, state_dict=state)), images)(images)


# ---- timm -----------------------------------------------------------------------------------------------------------


def to_timm(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Return a checkpoint for ``timm.create_model(NAME, num_classes=N, checkpoint_path=FILE)``."""
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py').model
    options = TIMM.native_options(config)
    if options is None:
        raise ValueError(
            f"the student is a {config.get('backbone', config).type}, which is not one of timm's (TimmClassifier, or "
            'TIMMBackbone without features_only). Other forms: mmpretrain, onnx, export, backbone'
        )
    from timm import create_model

    net = create_model(**options).eval()
    state = TIMM.native_weights(config, checkpoint['state_dict'], net)
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f'timm does not have such a network: {str(error).splitlines()[1].strip()}') from error
    name = options.pop('model_name')
    with torch.no_grad():
        return _saved(dict(arch=name, model_args=options, state_dict=state)), net(images)


# ---- graphs ---------------------------------------------------------------------------------------------------------


def _any_batch(model: BaseModel, checkpoint: Mapping[str, Any]) -> AbstractContextManager:
    """Return a context in which a trace of the student accepts any batch size."""
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py').model
    return source_of(config).any_batch_size(model)


def to_export(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Return a program from normalized images ``(B, C, H, W)`` to logits, for any B: ``torch.export.load``."""
    with _any_batch(model, checkpoint), torch.no_grad():
        batch = torch.export.Dim('batch', min=1)
        program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=_about(model, checkpoint, images))
    file.seek(0)
    with torch.no_grad():
        return file.getvalue(), torch.export.load(file).module()(images)


def to_torchscript(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Return a traced graph from normalized images ``(B, C, H, W)`` to logits, for any B (``torch.jit.load``)."""
    print_log(
        '--to torchscript: TorchScript is deprecated since torch 2.11. Use --to export, which torch.export.load reads',
        logger='current',
        level=logging.WARNING,
    )
    with _any_batch(model, checkpoint), torch.no_grad(), warnings.catch_warnings():
        # Traced constants depend only on the image size, which is fixed.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        graph = torch.jit.trace(model, images[:2], check_trace=False)
    file = io.BytesIO()
    torch.jit.save(graph, file, _extra_files=_about(model, checkpoint, images))
    file.seek(0)
    with torch.no_grad():
        return file.getvalue(), torch.jit.load(file)(images)


def to_onnx(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Return an ONNX graph from ``images`` to the output of :func:`_output_name`, with its result by onnxruntime."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ImportError(f'--to onnx needs {error.name}: pip install onnx onnxruntime onnxscript') from error
    with _any_batch(model, checkpoint), torch.no_grad():
        program = torch.onnx.export(
            model,
            (images[:2],),
            dynamo=True,
            verbose=False,
            input_names=['images'],
            output_names=[_output_name(model)],
            dynamic_shapes=({0: torch.export.Dim('batch')},),
        )
    graph = program.model_proto
    onnx.helper.set_model_props(graph, _about(model, checkpoint, images))
    data = graph.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    logits = session.run(None, {'images': np.asarray(images)})[0]
    return data, torch.from_numpy(logits)


Form = Callable[[BaseModel, Mapping[str, Any], Tensor], tuple[bytes, Tensor]]
FORMS: dict[str, Form] = dict(
    mmpretrain=to_mmpretrain,
    timm=to_timm,
    onnx=to_onnx,
    export=to_export,
    torchscript=to_torchscript,
    backbone=to_backbone,
)
GRAPHS = ('onnx', 'export', 'torchscript')
"""Forms that take images of one size."""
