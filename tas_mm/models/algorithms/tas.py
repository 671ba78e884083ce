"""TAS: teacher once, student once, losses.

An MMRazor ``SingleTeacherDistill`` that takes care of what that one leaves to luck. Its teacher is not a sub-module: so
it is in no optimizer, no checkpoint, no DDP bucket, no EMA and no SyncBN conversion, and ``train()`` never reaches it.
It stays in eval mode (MMRazor puts only its batch norm there, and DropPath stays on), runs without a graph and without
computing a loss, and sees the image normalised its own way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from mmengine.utils.misc import apply_to
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.algorithms.base import LossResults
from mmrazor.models.utils import add_prefix
from mmrazor.registry import MODELS as RAZOR_MODELS
from torch import Tensor, nn

from tas_mm.config import named_model
from tas_mm.registry import MODELS, refuse_unknown

from ..losses.utils import exact
from ..stages import view_of
from .teacher import fingerprint, renormalisation
from .teacher_cache import KEPT, build_cache
from .teacher_group import Several, TeacherGroup, build_teachers


@MODELS.register_module()
class TAS(SingleTeacherDistill):
    """Distil a frozen teacher into a student.

    Args:
        architecture (dict | BaseModel): The student; MMRazor's name for it.
        teacher (dict | str | nn.Module): The teacher: a model config, the path of a config (a file, or
            ``'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'``), the name of a model in MMPretrain's index
            (``'swin-tiny_16xb64_in1k'``, with its published weights), or a built model, which may be any ``nn.Module``
            that gives logits. Or a list of such: then each gets a distiller, and with it an assistant, of its own.
        distiller (dict, optional): Any MMRazor distiller; for several teachers one of tas_mm's, or a list with one
            for each. Defaults to ``dict(type='tas_mm.TASDistiller')``.
        teacher_ckpt (str | list, optional): File or URL of the teacher's weights; for several teachers a list. Defaults
            to None, which warns unless the teacher's config loads weights by itself.
        data_preprocessor (dict | nn.Module, optional): Of the student. The teacher's own, where its config has one,
            says how it wants the image normalised. Defaults to None.
        compile (bool | dict): Whether ``torch.compile`` compiles both networks, or its options, such as
            ``dict(mode='max-autotune')``. What follows a cut, in the assistant, mostly stays as it is, and so do heads
            and losses. Defaults to False.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.
        accept_other_teacher (bool): Whether a run that began with other weights of the teacher may be resumed; read by
            ``TeacherHook``. Defaults to False.
        teacher_dtype (str, optional): ``'bfloat16'`` keeps the frozen teacher's weights in that type, which takes half
            of the memory, and computes its passes under autocast to it; all else stays as it is. Defaults to None.
        teacher_weights (list, optional): Of several teachers, what the losses of each are multiplied by. Defaults to
            None: one over their number.
        teacher_cache (str | dict, optional): Folder in which feature and logits of the teacher are kept for the images
            of the run, and from which another run with the same images (seed, data and pipeline) reads them without
            running the teacher; or ``dict(path=..., topk=...)``, see :class:`TeacherCache`. Defaults to None.
        **others: What there is not; refused with the nearest that there is.

    Raises:
        FileNotFoundError: If ``teacher_ckpt`` is a file that does not exist.
        ValueError: For an unknown option, for another ``teacher_dtype``, if the weights do not fit the teacher, or,
            from the distiller, if the two networks do not fit.
    """

    gives_logits = True
    """Whether the networks are classifiers, whose logits can be validated."""

    def __init__(
        self,
        architecture: dict | BaseModel,
        teacher: dict | str | nn.Module | Sequence,
        distiller: dict | Sequence[dict] | None = None,
        teacher_ckpt: str | Sequence[str | None] | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        compile: bool | dict = False,
        init_cfg: dict | None = None,
        accept_other_teacher: bool = False,
        teacher_dtype: str | None = None,
        teacher_weights: Sequence[float] | None = None,
        teacher_cache: str | dict | None = None,
        **others: Any,
    ) -> None:
        refuse_unknown('model', others, TAS)
        if teacher_dtype not in (None, 'bfloat16'):
            raise ValueError(f"model.teacher_dtype={teacher_dtype!r}, but valid are None, 'bfloat16'")
        scope = DefaultScope.get_current_instance()
        # MMEngine's own scope, a runner's where the config names none, knows no classifier.
        unknown = scope is None or scope.scope_name == 'mmengine'
        with DefaultScope.overwrite_default_scope('mmpretrain' if unknown else scope.scope_name):
            if isinstance(architecture, dict):
                if isinstance(data_preprocessor, dict):
                    # The student builds it, so that its batch augmentations (mixup, cutmix) come along.
                    architecture = {'data_preprocessor': data_preprocessor, **architecture}
                    data_preprocessor = None
                architecture = RAZOR_MODELS.build(named_model(architecture))
            teacher = build_teachers(teacher, teacher_ckpt, teacher_weights)
        distiller = distiller or dict(type='tas_mm.TASDistiller')
        if isinstance(teacher, TeacherGroup):
            distiller = _one_each(distiller, teacher)
        elif isinstance(distiller, Several):
            raise ValueError('model.distiller is a list, but model.teacher is one teacher; give a list of them')
        with DefaultScope.overwrite_default_scope('mmrazor'):
            super().__init__(
                distiller=dict(distiller),
                teacher=teacher,
                architecture=architecture,
                data_preprocessor=data_preprocessor,
                init_cfg=init_cfg,
            )
        self.accept_other_teacher = accept_other_teacher
        # From here on the teacher is a plain attribute, which no walk over sub-modules finds.
        del self._modules['teacher']
        self.__dict__['teacher'] = teacher.eval().requires_grad_(False)
        if isinstance(teacher, TeacherGroup):  # which do that themselves, each its way
            teacher.normalise_from(self.data_preprocessor)
            scale = shift = None
        else:
            scale, shift = renormalisation(self.data_preprocessor, teacher) or (None, None)
        self.register_buffer('_scale', scale, persistent=False)
        self.register_buffer('_shift', shift, persistent=False)
        self._batch_checked = False
        self._teacher_dtype = getattr(torch, teacher_dtype) if teacher_dtype else None
        for parameter in teacher.parameters() if teacher_dtype else ():
            if parameter.dim() > 1:  # norms stay exact, which costs nothing, and which autocast wants on a CPU
                parameter.data = parameter.data.to(self._teacher_dtype)
        self._cache = None
        if teacher_cache is not None:
            way = [tensor.flatten().tolist() for tensor in (scale, shift) if tensor is not None]
            same = dict(teacher=fingerprint(teacher), normalisation=way, dtype=teacher_dtype)
            self._cache = build_cache(teacher_cache, same, self.distiller)
        if compile:  # when first called: recorders hang on the networks by now, and are compiled with them
            teachers = teacher.teachers if isinstance(teacher, TeacherGroup) else [teacher]
            views = [view_of(each, key='model.teacher') for each in teachers]
            for view in (view_of(self.student, key='model.architecture'), *views):
                view.net.compile(**({} if compile is True else compile))

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
                if not self._recall(inputs):
                    with self.distiller.teacher_recorders, self.distiller.deliveries:
                        self.run_teacher(inputs)
                self.distiller.set_deliveries_override(True)
            with self.distiller.student_recorders, self.distiller.deliveries if distilling else nullcontext():
                losses = add_prefix(self.student(inputs, data_samples, mode='loss'), 'student')
            if distilling:
                losses.update(add_prefix(self.distiller.compute_distill_losses(), 'distill'))
            else:
                # Parameters that get no gradient would stop DDP; these get one of zero.
                idle = [p.sum() for p in self.distiller.parameters() if p.requires_grad]
                losses['distill.loss_stopped'] = 0.0 * sum(idle, inputs.new_zeros(()))
        finally:
            self._free_records()
        return losses

    @torch.no_grad()
    def _recall(self, inputs: Tensor) -> bool:
        """Let the teacher's recorders hold what is kept of the images; of new ones keep what the teacher says."""
        if self._cache is None:
            return False
        recorders = self.distiller.teacher_recorders.recorders
        known = self._cache.find(inputs)
        if known is None:
            with self.distiller.teacher_view.watching() as known, self.distiller.teacher_recorders:
                self.run_teacher(inputs)
            self._cache.keep(inputs, **known)
            return True
        records = dict(feature=(known['feature'],), logits=known['logits'])
        for name in KEPT:
            if name in recorders:
                recorders[name].data_buffer.append(records[name])
        return True

    @torch.no_grad()
    def run_teacher(self, inputs: Tensor) -> Tensor:
        """The teacher's logits ``(B, num_classes)`` for images as the student sees them."""
        if self._scale is not None:
            inputs = inputs * self._scale + self._shift
        if self._teacher_dtype is None:
            return self._teacher_pass(inputs)
        # Autocast takes care of the operations that the narrow type lacks or is too coarse for, as in the assistant.
        with torch.autocast(inputs.device.type, self._teacher_dtype):
            output = self._teacher_pass(inputs)
        for recorder in self.distiller.teacher_recorders.recorders.values():
            recorder.data_buffer[:] = apply_to(recorder.data_buffer, lambda x: isinstance(x, Tensor), exact)
        return apply_to(output, lambda x: isinstance(x, Tensor), exact)

    def _teacher_pass(self, inputs: Tensor) -> Any:
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
        return {role: predicted if role == 'student' else scored(data_samples, logits[role]) for role in roles}

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

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Number of a parameter's layer, and of all, for layer-wise decay of the learning rate (MMPretrain's).

        Those of the student are what they are without distillation; the distiller's count as its head's.
        """
        return self.student.get_layer_depth(param_name.removeprefix('architecture.'))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load weights of a distillation, or of the student alone (``load_from`` or ``init_cfg`` of a plain config).

        Raises:
            ValueError: If there are weights, but none of them is the student's.
        """
        ours = f'{prefix}architecture.'
        if state_dict and not any(name.startswith(ours) for name in state_dict):
            found = [name for name in self.student.state_dict() if prefix + name in state_dict]
            if not found:
                raise ValueError(
                    f'load_from or init_cfg of model: none of its {len(state_dict)} entries, such as '
                    f'{next(iter(state_dict))!r}, is a weight of model.architecture, such as '
                    f'{next(iter(self.student.state_dict()))!r}; give a checkpoint of a distillation or of the student'
                )
            for name in found:
                state_dict[ours + name] = state_dict.pop(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

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


def _one_each(distiller: dict | Sequence[dict], teacher: TeacherGroup) -> dict:
    """Config of the group of distillers for a group of teachers."""
    count = len(teacher.teachers)
    each = list(distiller) if isinstance(distiller, Several) else [deepcopy(distiller) for _ in range(count)]
    if len(each) != count:
        raise ValueError(f'model.distiller is a list of {len(each)}, but model.teacher has {count}: give one for each')
    return dict(type='tas_mm.DistillerGroup', distillers=each, weights=teacher.weights)


def scored(data_samples: list[BaseDataElement], logits: Tensor) -> list[BaseDataElement]:
    """Copies of the samples with predicted scores ``(num_classes, )`` and label, from logits ``(B, num_classes)``."""
    return [
        sample.clone().set_pred_score(score).set_pred_label(score.argmax())
        for sample, score in zip(data_samples, logits.softmax(dim=1))
    ]
