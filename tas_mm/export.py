"""A student in other forms: timm's, ONNX, TorchScript, and its backbone for detectors and segmentors.

Each form is compared with the student on noise, at another batch size than it was traced with, before a file is
written.
"""

from __future__ import annotations

import io
import json
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmpretrain.models.utils.attention import ShiftWindowMSA
from torch import Tensor

from .inspect import pipeline_size
from .models.stages import image_channels, view_of
from .models.stages.base import DEFAULT_SIZE
from .student import build_student

TOLERANCE = 1e-4
"""How far logits may be off, absolutely or, where they are larger than 1, relative to the largest."""


def export(checkpoint: Mapping[str, Any], form: str, input_size: tuple[int, int] | None = None) -> tuple[bytes, float]:
    """A student as a file of another form.

    Args:
        checkpoint (mapping): The student, as ``tas_mm.student.read_student`` gives it.
        form (str): One of ``FORMS``.
        input_size (tuple, optional): Height and width of its images. Defaults to what its test pipeline gives, else to
            what its network declares. A graph must have one of the three; other forms are compared at 224x224 then.

    Returns:
        tuple: The bytes of the file, and the largest difference of its logits from the student's.

    Raises:
        ValueError: If the student has no such form, if the size of its images is not known, or if its logits would
            differ.
        ImportError: If the packages that the form needs are not installed.
    """
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py')
    if config.default_scope == 'mmdet':
        raise ValueError(
            'the student is a detector, which has no logits to compare: take the file student_*.pth beside the '
            'checkpoint, which MMDetection loads as it is'
        )
    model = build_student(checkpoint)
    images = _noise(model, input_size or _size_of(model, config, form))
    with torch.no_grad():
        wanted = model(images)
    data, logits = FORMS[form](model, checkpoint, images)
    difference = float((logits - wanted).abs().max())
    if not difference <= TOLERANCE * max(1.0, float(wanted.abs().max())):
        raise ValueError(
            f'as {form} its logits would differ by up to {difference:.2g}, and {TOLERANCE} is allowed: between the '
            'images and the logits it does something that this form has not'
        )
    return data, difference


def _size_of(model: BaseModel, config: Config, form: str) -> tuple[int, int]:
    """Height and width of a student's images, as its test pipeline or its network says."""
    size = pipeline_size(config, 'test_dataloader') if 'test_dataloader' in config else None
    size = size or view_of(model).declared_size()
    if size is None and form in GRAPHS:
        raise ValueError(
            'a graph takes images of one size, which neither the test pipeline nor the network says: give it with '
            '--input-size HEIGHT WIDTH'
        )
    return size or DEFAULT_SIZE


def _noise(model: BaseModel, input_size: tuple[int, int]) -> Tensor:
    """Three normalised images, always the same, ``(3, C, H, W)``."""
    try:
        channels = view_of(model, input_size).in_channels
    except ValueError:  # which a network without a stage view may be exported for all that
        channels = image_channels(model)
    return torch.randn(3, channels, *input_size, generator=torch.Generator().manual_seed(0))


def _saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def _about(model: BaseModel, checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """What a user of a graph must know: ``classes``, and how the images are normalised; JSON."""
    about = dict(classes=checkpoint['meta']['dataset_meta'].get('classes'))
    if hasattr(model.data_preprocessor, 'mean'):
        about.update({key: getattr(model.data_preprocessor, key).flatten().tolist() for key in ('mean', 'std')})
    return {key: json.dumps(value) for key, value in about.items()}


# ---- MMPretrain, detectors, segmentors ------------------------------------------------------------------------------


def to_mmpretrain(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """The student's file, which ``StudentHook`` writes too."""
    return _reloaded(dict(checkpoint), checkpoint, images)


def to_backbone(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """Its backbone alone: ``init_cfg=dict(type='Pretrained', checkpoint=FILE, prefix='backbone.')``."""
    state = {key: value for key, value in checkpoint['state_dict'].items() if key.startswith('backbone.')}
    if not state:
        raise ValueError(
            f'a {type(model).__name__} has no backbone of its own. For a timm network in a detector, distil an '
            'ImageClassifier with a TIMMBackbone; other forms: mmpretrain, timm, onnx, torchscript'
        )
    return _reloaded(dict(checkpoint, state_dict=state), checkpoint, images)


def _reloaded(value: dict[str, Any], checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """A file, and the logits of a student built from it; what the file lacks is the student's."""
    data = _saved(value)
    loaded = torch.load(io.BytesIO(data), weights_only=True)
    state = {**checkpoint['state_dict'], **loaded['state_dict']}
    with torch.no_grad():
        return data, build_student(dict(loaded, state_dict=state))(images)


# ---- timm -----------------------------------------------------------------------------------------------------------


def to_timm(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """A checkpoint for ``timm.create_model(NAME, num_classes=N, checkpoint_path=FILE)``."""
    config = Config.fromstring(checkpoint['meta']['cfg'], '.py').model
    if config.type == 'TimmClassifier':
        own = ('type', 'loss', 'train_cfg', 'with_cp', 'data_preprocessor', 'init_cfg')
        options = {key: value for key, value in config.to_dict().items() if key not in own}
        state = dict(checkpoint['state_dict'])
    elif config.get('backbone', {}).get('type') == 'TIMMBackbone' and not config.backbone.get('features_only'):
        own = ('type', 'init_cfg', 'in_channels', 'features_only')
        options = {key: value for key, value in config.backbone.to_dict().items() if key not in own}
        options.update(num_classes=config.head.num_classes, in_chans=config.backbone.get('in_channels', 3))
        state = {key.removeprefix('backbone.timm_model.'): v for key, v in checkpoint['state_dict'].items()}
    else:
        name = config.get('backbone', config).type
        raise ValueError(
            f"the student is a {name}, which is none of timm's (TimmClassifier, or TIMMBackbone without "
            'features_only). Other forms: mmpretrain, onnx, torchscript, backbone'
        )
    from timm import create_model

    net = create_model(**options).eval()
    if config.type != 'TimmClassifier':
        head = net.pretrained_cfg['classifier']
        state = {re.sub(r'^head\.fc\.', f'{head}.', key): value for key, value in state.items()}
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f'timm has no such network: {str(error).splitlines()[1].strip()}') from error
    name = options.pop('model_name')
    with torch.no_grad():
        return _saved(dict(arch=name, model_args=options, state_dict=state)), net(images)


# ---- graphs ---------------------------------------------------------------------------------------------------------


@contextmanager
def _any_batch() -> Iterator[None]:
    """Put windows of attention together again without the batch size, which a trace would take for a constant."""

    def window_reverse(windows: Tensor, height: int, width: int, side: int) -> Tensor:
        x = windows.view(-1, height // side, width // side, side, side, windows.shape[-1])
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, height, width, windows.shape[-1])

    with patch.object(ShiftWindowMSA, 'window_reverse', staticmethod(window_reverse)), torch.no_grad():
        yield


def to_torchscript(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """A traced graph from normalised images ``(B, C, H, W)`` to logits, for any B: ``torch.jit.load``."""
    with _any_batch(), warnings.catch_warnings():
        # Whatever is taken for a constant here depends on the size of the images, which is one.
        warnings.simplefilter('ignore', torch.jit.TracerWarning)
        graph = torch.jit.trace(model, images[:2], check_trace=False)
    file = io.BytesIO()
    torch.jit.save(graph, file, _extra_files=_about(model, checkpoint))
    file.seek(0)
    with torch.no_grad():
        return file.getvalue(), torch.jit.load(file)(images)


def to_onnx(model: BaseModel, checkpoint: Mapping[str, Any], images: Tensor) -> tuple[bytes, Tensor]:
    """An ONNX graph from normalised ``images`` ``(B, C, H, W)`` to ``logits``, for any B, run once by onnxruntime."""
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  (torch's exporter needs it)
    except ImportError as error:
        raise ImportError(f'--to onnx needs {error.name}: pip install onnx onnxruntime onnxscript') from error
    with _any_batch():
        program = torch.onnx.export(
            model,
            (images[:2],),
            dynamo=True,
            verbose=False,
            input_names=['images'],
            output_names=['logits'],
            dynamic_shapes=({0: torch.export.Dim('batch')},),
        )
    graph = program.model_proto
    onnx.helper.set_model_props(graph, _about(model, checkpoint))
    data = graph.SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=['CPUExecutionProvider'])
    logits = session.run(None, {'images': np.asarray(images)})[0]
    return data, torch.from_numpy(logits)


Form = Callable[[BaseModel, Mapping[str, Any], Tensor], tuple[bytes, Tensor]]
FORMS: dict[str, Form] = dict(
    mmpretrain=to_mmpretrain, timm=to_timm, onnx=to_onnx, torchscript=to_torchscript, backbone=to_backbone
)
GRAPHS = ('onnx', 'torchscript')
"""Forms that take images of one size."""
