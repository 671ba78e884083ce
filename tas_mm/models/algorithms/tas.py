"""TAS: teacher once, student once, losses.

An MMRazor ``SingleTeacherDistill`` that takes care of what that one leaves to luck. Its teacher is not a sub-module: so
it is in no optimizer, no checkpoint, no DDP bucket, no EMA and no SyncBN conversion, and ``train()`` never reaches it.
It stays in eval mode (MMRazor puts only its batch norm there, and DropPath stays on), runs without a graph and without
computing a loss, and sees the image normalised its own way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.runner.checkpoint import CheckpointLoader
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.config import read_config
from tas_mm.registry import MODELS


@MODELS.register_module()
class TAS(SingleTeacherDistill):
    """Distil a frozen teacher into a student.

    Args:
        architecture (dict | BaseModel): The student; MMRazor's name for it.
        teacher (dict | str | BaseModel): The teacher: a model config, the path of a config (a file, or
            ``'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'``), or a built model.
        distiller (dict, optional): Any MMRazor distiller. Defaults to ``dict(type='tas_mm.TASDistiller')``.
        teacher_ckpt (str, optional): File or URL of the teacher's weights. Defaults to None, which warns unless the
            teacher's config loads weights by itself.
        data_preprocessor (dict | nn.Module, optional): Of the student. The teacher's own, where its config has one,
            says how it wants the image normalised. Defaults to None.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.

    Raises:
        FileNotFoundError: If ``teacher_ckpt`` is a file that does not exist.
        ValueError: If the weights do not fit the teacher, or, from the distiller, if the two networks do not fit.
    """

    def __init__(
        self,
        architecture: dict | BaseModel,
        teacher: dict | str | BaseModel,
        distiller: dict | None = None,
        teacher_ckpt: str | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        scope = DefaultScope.get_current_instance()
        with DefaultScope.overwrite_default_scope(scope.scope_name if scope else 'mmpretrain'):
            if isinstance(architecture, dict):
                if isinstance(data_preprocessor, dict):
                    # The student builds it, so that its batch augmentations (mixup, cutmix) come along.
                    architecture = {'data_preprocessor': data_preprocessor, **architecture}
                    data_preprocessor = None
                architecture = RAZOR_MODELS.build(architecture)
            teacher = build_teacher(teacher, teacher_ckpt)
        with DefaultScope.overwrite_default_scope('mmrazor'):
            super().__init__(
                distiller=dict(distiller or dict(type='tas_mm.TASDistiller')),
                teacher=teacher,
                architecture=architecture,
                data_preprocessor=data_preprocessor,
                init_cfg=init_cfg,
            )
        # From here on the teacher is a plain attribute, which no walk over sub-modules finds.
        del self._modules['teacher']
        self.__dict__['teacher'] = teacher.eval().requires_grad_(False)
        scale, shift = renormalisation(self.data_preprocessor, teacher.data_preprocessor) or (None, None)
        self.register_buffer('_scale', scale, persistent=False)
        self.register_buffer('_shift', shift, persistent=False)
        self._batch_checked = False

    # ---- a training step -------------------------------------------------------------------------------------------

    def loss(self, inputs: Tensor, data_samples: list[BaseDataElement] | None = None) -> LossResults:
        """Losses of a batch.

        Args:
            inputs (Tensor): Images as the student's preprocessor gives them, ``(B, C, H, W)``.
            data_samples (list, optional): Their labels.

        Returns:
            dict: ``student.*``, the student's own, and ``distill.*``, one for each path and loss.
        """
        self._check_batch(inputs, data_samples)
        distilling = not self.distillation_stopped
        try:
            if distilling:
                self.distiller.set_deliveries_override(False)
                with self.distiller.teacher_recorders, self.distiller.deliveries:
                    self.run_teacher(inputs)
                self.distiller.set_deliveries_override(True)
            with self.distiller.student_recorders, self.distiller.deliveries:
                losses = add_prefix(self.student(inputs, data_samples, mode='loss'), 'student')
            if distilling:
                losses.update(add_prefix(self.distiller.compute_distill_losses(), 'distill'))
        finally:
            self._free_records()
        return losses

    @torch.no_grad()
    def run_teacher(self, inputs: Tensor) -> Tensor:
        """The teacher's logits ``(B, num_classes)`` for images as the student sees them."""
        if self._scale is not None:
            inputs = inputs * self._scale + self._shift
        return self.teacher(inputs, mode='tensor')

    @torch.no_grad()
    def predict_roles(
        self, inputs: Tensor, data_samples: list[BaseDataElement], roles: Sequence[str]
    ) -> dict[str, list[BaseDataElement]]:
        """Predictions of several networks for one batch, each network running once.

        Args:
            inputs (Tensor): Images as the student's preprocessor gives them, ``(B, C, H, W)``.
            data_samples (list): Their labels.
            roles (sequence): Of ``student``, ``teacher`` and ``assistant``.

        Returns:
            dict: For each role the samples with its predicted scores and label.
        """
        distiller = self.distiller
        logits: dict[str, Tensor] = {}
        try:
            if 'teacher' in roles or ('assistant' in roles and distiller.assistant.early_role == 'teacher'):
                with distiller.teacher_recorders:
                    logits['teacher'] = self.run_teacher(inputs)
            with distiller.student_recorders:
                predicted = self.student(inputs, deepcopy(data_samples), mode='predict')
            if 'assistant' in roles:
                logits['assistant'] = distiller.run_assistant().logits
        finally:
            self._free_records()
        predictions = {'student': predicted}
        for role, z in logits.items():
            scores = z.softmax(dim=1)
            predictions[role] = [
                sample.clone().set_pred_score(score).set_pred_label(score.argmax())
                for sample, score in zip(data_samples, scores)
            ]
        return {role: predictions[role] for role in roles}

    def _check_batch(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> None:
        """Refuse, on the first batch, images of another size than laid out for, and labels out of range."""
        if self._batch_checked:
            return
        self._batch_checked = True
        view = getattr(self.distiller, 'student_view', None)
        if view is None:
            return
        if tuple(inputs.shape[-2:]) != tuple(view.input_size):
            raise ValueError(
                f'the train pipeline gives images of {tuple(inputs.shape[-2:])}, but the assistant was laid out for '
                f'{tuple(view.input_size)}: set model.distiller.input_size={tuple(inputs.shape[-2:])}, or resize in '
                'train_pipeline'
            )
        labels = [sample.gt_label for sample in data_samples or [] if 'gt_label' in sample]
        if labels and not 0 <= int(torch.cat(labels).min()) <= int(torch.cat(labels).max()) < view.num_classes:
            raise ValueError(
                f'train_dataloader.dataset gives labels from {int(torch.cat(labels).min())} to '
                f'{int(torch.cat(labels).max())}, but model.architecture.head.num_classes={view.num_classes} allows 0 '
                f'to {view.num_classes - 1}'
            )

    def _free_records(self) -> None:
        """Drop what the recorders hold, and with it the graphs that hang on it."""
        for manager in (self.distiller.student_recorders, self.distiller.teacher_recorders):
            for recorder in manager.recorders.values():
                recorder.reset_data_buffer()

    # ---- the teacher, out of sight but never left behind -----------------------------------------------------------

    def train(self, mode: bool = True) -> TAS:
        """Set the mode of everything but the teacher, which stays in eval mode."""
        super().train(mode)
        return self  # MMRazor's returns nothing

    def _apply(self, fn: Callable, recurse: bool = True) -> TAS:
        """Take the teacher along to another device or precision."""
        self.teacher._apply(fn)
        return super()._apply(fn, recurse)

    def __deepcopy__(self, memo: dict) -> TAS:
        """A copy (for EMA, say) that shares the frozen teacher's weights."""
        for tensor in chain(self.teacher.parameters(), self.teacher.buffers()):
            memo[id(tensor)] = tensor
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.__dict__.update({key: deepcopy(value, memo) for key, value in self.__dict__.items()})
        return copied


def build_teacher(teacher: dict | str | BaseModel, checkpoint: str | None = None) -> BaseModel:
    """Build a teacher and load its weights.

    Args:
        teacher (dict | str | BaseModel): A model config, the path of a config, or a built model.
        checkpoint (str, optional): File or URL of its weights. Defaults to None.

    Raises:
        FileNotFoundError: If ``checkpoint`` is a file that does not exist.
        ValueError: If the weights do not fit.
    """
    if checkpoint and '://' not in checkpoint and not os.path.isfile(os.path.expanduser(checkpoint)):
        raise FileNotFoundError(
            f'model.teacher_ckpt={checkpoint!r} does not exist (looked from {Path.cwd()}); name a file or URL with the '
            "teacher's weights"
        )
    if isinstance(teacher, BaseModel):
        has_weights = ready = True
    else:
        config = teacher_config(teacher)
        has_weights = bool(checkpoint) or _loads_weights(config)
        if checkpoint:  # which takes the place of other weights: those need not be fetched
            config = {key: value for key, value in config.items() if key != 'pretrained'}
        teacher = RAZOR_MODELS.build(config)
        ready = getattr(teacher, '_is_init', False)
    if checkpoint:
        _load(teacher, checkpoint)
    elif not ready:
        teacher.init_weights()
    if not has_weights:
        print_log(
            'THE TEACHER HAS NO TRAINED WEIGHTS: model.teacher_ckpt is not set and its config loads none. A student '
            'distilled from a random teacher learns nothing from it. Set model.teacher_ckpt to a file or URL.',
            logger='current',
            level=30,
        )
    return teacher


def teacher_config(teacher: dict | str) -> dict:
    """The model config of a teacher that may be named by the path of its config, with its preprocessor."""
    if not isinstance(teacher, str):
        return teacher
    config = read_config(teacher)
    model = config.model
    if 'data_preprocessor' in config:
        model.setdefault('data_preprocessor', config.data_preprocessor)
    model.setdefault('_scope_', config.get('default_scope', 'mmpretrain'))
    return model


def _loads_weights(config: Any) -> bool:
    """Whether a config loads weights by itself: ``pretrained=...`` or an ``init_cfg`` of type ``Pretrained``."""
    if isinstance(config, dict):
        if config.get('pretrained') or config.get('checkpoint_path') or config.get('type') == 'Pretrained':
            return True
        return any(_loads_weights(value) for value in config.values())
    return isinstance(config, (list, tuple)) and any(_loads_weights(value) for value in config)


def _load(teacher: BaseModel, checkpoint: str) -> None:
    """Load weights; every parameter must be there. Buffers that older checkpoints lack keep their values."""
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='current')
    state = loaded.get('state_dict', loaded)
    state = {key.removeprefix('module.'): value for key, value in state.items()}
    try:
        missing = set(teacher.load_state_dict(state, strict=False).missing_keys)
    except RuntimeError as error:  # shapes differ
        raise ValueError(
            f'model.teacher_ckpt={checkpoint!r} does not fit model.teacher: {error}. If the class counts differ, '
            'fine-tune the teacher on your data first'
        ) from error
    missing &= {name for name, _ in teacher.named_parameters()}
    if missing:
        raise ValueError(
            f'model.teacher_ckpt={checkpoint!r} does not fit model.teacher: {len(missing)} of its parameters are not '
            f'in the file, such as {sorted(missing)[0]!r}; the file has such as {sorted(state)[0]!r}'
        )


def renormalisation(student: nn.Module, teacher: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Scale and shift from images normalised for the student to the same images normalised for the teacher.

    Mean and std are in the units of the pixels (0 to 255 in MMPretrain). The order of the colours is taken to be the
    same.

    Args:
        student (nn.Module): Its data preprocessor, with buffers ``mean`` and ``std`` of shape ``(C, 1, 1)`` if any.
        teacher (nn.Module): Likewise.

    Returns:
        tuple | None: Scale and shift, each ``(C, 1, 1)``; None if either names no mean, or both name the same.
    """
    if not (hasattr(student, 'mean') and hasattr(teacher, 'mean')):
        return None
    if torch.equal(student.mean, teacher.mean) and torch.equal(student.std, teacher.std):
        return None
    return student.std / teacher.std, (student.mean - teacher.mean) / teacher.std
