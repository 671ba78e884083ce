"""TAS: the teacher runs once, the student runs once, and the distiller compares what they know."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from mmengine.dist import is_distributed
from mmengine.logging import print_log
from mmengine.model import BaseModel
from mmengine.structures import BaseDataElement
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.models.algorithms.base import BaseAlgorithm, LossResults
from mmrazor.models.utils import add_prefix
from torch import Tensor, nn

from tas_mm.registry import MODELS, refuse_unknown

from ..compiling import compile_network
from ..distillers import interface_of
from ..knowledge import Observation, labels_of
from ..stages import StageView, view_of
from ..teachers import TeacherOptions, build_frozen, settle
from ..utils import tensors
from .build import RazorOptions, build_distiller, build_student, chosen, model_scope, switch_off_inplace
from .labels import labeled_alone
from .student_parts import StudentParts


@MODELS.register_module()
class TAS(StudentParts, SingleTeacherDistill):
    """Distill a frozen teacher into a student.

    Args:
        architecture (dict | BaseModel): The student. The name is MMRazor's.
        teacher (dict | str | nn.Module): The teacher: a model config; the path of a config (a file, or
            ``'mmpretrain::swin_transformer/swin-tiny_16xb64_in1k.py'``); the name of a model in MMPretrain's index
            (``'swin-tiny_16xb64_in1k'``, with its published weights); or a built model, which may be any ``nn.Module``
            that returns logits. A list of these means several teachers, each with its own distiller and assistant.
        distiller (dict, optional): Config of any MMRazor distiller. Several teachers need one of tas_mm's, or a list
            with one for each. Defaults to ``dict(type='tas_mm.TASDistiller')``.
        data_preprocessor (dict | nn.Module, optional): The student's preprocessor. If the teacher's config has its own,
            the teacher's images are normalized by that. Defaults to None.
        compile (bool | dict): Whether to compile both networks with ``torch.compile``, or its options, such as
            ``dict(mode='max-autotune')``. The assistant's late part, heads and losses are mostly not compiled. Defaults
            to False.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.
        **options: Options of MMRazor's ``SingleTeacherDistill``, see :class:`RazorOptions`, and of the teacher:

            - teacher_ckpt (str | list, optional): File or URL of the teacher's weights; a list for several teachers.
              Defaults to None, which warns unless the teacher's config loads weights itself.
            - teacher_dtype (str, optional): ``'bfloat16'`` stores the teacher's weights in that type, in half of the
              memory, and runs the teacher under bfloat16 autocast. Defaults to None.
            - teacher_weights (list | str, optional): Loss weight of each of several teachers. ``'by_image'`` keeps, for
              each image, the teacher with the largest loss, and each other teacher with probability 0.5. Defaults to
              None: one over their number.
            - teacher_cache (str | dict, optional): Folder that stores the teacher's feature and logits for the images
              of the run. Another run with the same images (seed, data and pipeline) reads them and does not run the
              teacher. Or ``dict(path=..., topk=...)``, see :class:`TeacherCache`. Defaults to None.
            - allow_teacher_change (bool): Whether a run may be resumed with other weights of the teacher. Read by
              ``TeacherFingerprintHook``. Defaults to False.

    Raises:
        FileNotFoundError: If ``teacher_ckpt`` is a file that does not exist.
        ValueError: If an option is unknown, if the weights do not fit the teacher, or if the two networks do not match.

    Examples:
        >>> import torch
        >>> from mmpretrain.structures import DataSample
        >>> from tas_mm.models import TAS
        >>> from tas_mm.recipes.sources import classifier_config
        >>> student, teacher = classifier_config('timm:resnet18'), classifier_config('timm:vit_tiny_patch16_224')
        >>> model = TAS(architecture=student, teacher=teacher)
        >>> samples = [DataSample().set_gt_label(label) for label in (1, 2)]
        >>> losses = model.loss(torch.randn(2, 3, 224, 224), samples)
        >>> len(losses)  # the student's own loss, and two losses on each of the three paths
        7
    """

    gives_logits = True
    """True if the networks are classifiers with logits to validate."""

    _batch_checked = False

    def __init__(
        self,
        architecture: dict | BaseModel,
        teacher: dict | str | nn.Module | Sequence,
        distiller: dict | Sequence[dict] | None = None,
        data_preprocessor: dict | nn.Module | None = None,
        compile: bool | dict = False,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        refuse_unknown('model', options, TAS, TeacherOptions, RazorOptions)
        teacher_options, razor_options = chosen(TeacherOptions, options), chosen(RazorOptions, options)
        with model_scope():
            student, preprocessor = build_student(architecture, data_preprocessor)
            # MMRazor's constructor would register the teacher as a sub-module.
            BaseAlgorithm.__init__(self, student, preprocessor, init_cfg, module_inplace=True)
            self.teacher = build_frozen(teacher, self.data_preprocessor, teacher_options)
        self.distiller = build_distiller(distiller, student, self.teacher)
        switch_off_inplace(interface_of(self), student, self.teacher, razor_options)
        settle(self.teacher, teacher_options, interface_of(self))
        self.allow_teacher_change = teacher_options.allow_teacher_change
        self.calculate_student_loss = razor_options.calculate_student_loss
        self.distillation_stopped = False  # set by MMRazor's StopDistillHook
        self._compile(compile)

    def _compile(self, options: bool | dict) -> None:
        """Set the networks to compile at their first call, together with the observers' hooks."""
        if options is False:
            return
        networks = [(self.student, 'model.architecture'), *((net, 'model.teacher') for net in self.teacher.networks)]
        for network, key in networks:
            compile_network(view_of(network, key=key).net, {} if options is True else options)

    # ---- a training step -------------------------------------------------------------------------------------------

    def loss(self, inputs: Tensor, data_samples: list[BaseDataElement] | None = None) -> LossResults:
        """Compute the losses of a batch.

        Args:
            inputs (Tensor): Images ``(B, C, H, W)`` from the student's preprocessor.
            data_samples (list, optional): Data samples with the labels.

        Returns:
            dict: ``student.*``, the student's own losses, and ``distill.*``, one for each path and loss.
        """
        if self.distillation_stopped:
            return self._loss_alone(inputs, data_samples)
        self._check_batch(inputs, data_samples)
        options = self._teacher_options(inputs, data_samples)
        distiller, network, teacher = interface_of(self), self.architecture, self.teacher
        taught = teacher.observe(inputs, distiller.teacher_observer, **options)
        labels = labels_of(data_samples)
        observe = partial(distiller.student_observer, network, inputs, regions=getattr(taught, 'regions', None))
        student, own = self._run_student(observe, distiller.student_view, data_samples, labels)
        distilled = distiller(student, taught, labels)
        return add_prefix(own, 'student') | add_prefix(distilled, 'distill')

    def _learns_labels(self, view: StageView | None) -> bool:
        """Return True if the student's own loss runs: it is switched on, and the student has a head."""
        has_head = view is None or not view.headless or view.feature_kind is not None
        return self.calculate_student_loss and has_head

    def _run_student(
        self,
        observe: Callable[..., tuple[Observation, Any]],
        view: StageView | None,
        data_samples: list[BaseDataElement] | None,
        labels: Tensor | None,
    ) -> tuple[Observation, LossResults]:
        """Run the student. Its own loss sees only labeled images, and does not run if there are none."""
        if not self._learns_labels(view) or (labels is None and self.gives_logits):
            seen, output = observe(mode='tensor')
            # Under DDP every parameter needs a gradient, even if it is 0.
            return seen, dict(loss_unlabeled=0.0 * sum(map(torch.sum, tensors(output)))) if is_distributed() else {}
        if not self.gives_logits or all('gt_label' in each or 'gt_score' in each for each in data_samples):
            return observe(data_samples=data_samples, mode='loss')
        with labeled_alone(self.architecture, data_samples) as own:
            seen, losses = observe(data_samples=own, mode='loss')
        # The head's accuracy would count the dummy labels.
        return seen, {name: value for name, value in losses.items() if 'loss' in name}

    def _loss_alone(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> LossResults:
        """Compute the student's own losses, and a loss of 0 for the distiller, whose parameters DDP needs used."""
        losses = add_prefix(self.architecture(inputs, data_samples, mode='loss'), 'student')
        idle = [p.sum() for p in self.distiller.parameters() if p.requires_grad]
        return dict(losses, **{'distill.loss_stopped': 0.0 * sum(idle, inputs.new_zeros(()))})

    def _teacher_options(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> dict[str, Any]:
        """Return options of the teacher's pass. A classifier has none: its feature is of the whole image."""
        return {}

    def _check_batch(self, inputs: Tensor, data_samples: list[BaseDataElement] | None) -> None:
        """Check the first batch only.

        Raises:
            ValueError: If the image size differs from the one the networks were built for, or a label is out of range.
        """
        if self._batch_checked:
            return
        self._batch_checked = True
        view = interface_of(self).student_view
        if view is None:
            return
        if self._learns_labels(view) and labels_of(data_samples) is None:
            print_log(
                "train_dataloader: the images have no labels, so the student's own loss does not run and only the "
                'teacher trains it. Set model.calculate_student_loss=False if that is intended',
                logger='current',
                level=logging.WARNING,
            )
        size = tuple(inputs.shape[-2:])
        if size != tuple(view.input_size):
            raise ValueError(
                f'train_pipeline gives images of {size}, but the assistant was built for {tuple(view.input_size)}. '
                f'Set model.distiller.input_size={size}, or resize in train_pipeline'
            )
        labels = [sample.gt_label for sample in data_samples or [] if 'gt_label' in sample]
        least, most = (int(torch.cat(labels).min()), int(torch.cat(labels).max())) if labels else (0, 0)
        if view.num_classes is not None and not 0 <= least <= most < view.num_classes:
            raise ValueError(
                f'train_dataloader.dataset gives labels from {least} to {most}, but '
                f'model.architecture.head.num_classes={view.num_classes} allows 0 to {view.num_classes - 1}'
            )

    # ---- validation ------------------------------------------------------------------------------------------------

    @property
    def predicting_roles(self) -> tuple[str, ...]:
        """Roles (student, teacher, assistant) that have logits to validate."""
        if not self.gives_logits:
            return ()
        distiller = interface_of(self)
        student, teachers, assistant = distiller.student_view, distiller.teacher_views, distiller.assistant
        found = dict(
            student=student is None or not student.headless,
            teacher=any(view is None or not view.headless for view in teachers),
            assistant=assistant is not None and not assistant.late.headless,
        )
        return tuple(role for role, predicts in found.items() if predicts)

    @torch.no_grad()
    def predict_roles(
        self, inputs: Tensor, data_samples: list[BaseDataElement], roles: Sequence[str]
    ) -> dict[str, list[BaseDataElement]]:
        """Predict one batch with several networks. Each network runs once.

        Args:
            inputs (Tensor): Images ``(B, C, H, W)`` from the student's preprocessor.
            data_samples (list): Data samples with the labels.
            roles (sequence): One or more of ``student``, ``teacher`` and ``assistant``.

        Returns:
            dict: For each role, copies of the samples with its predicted scores and label.
        """
        distiller, logits = interface_of(self), {}
        teacher: Any = None
        if 'assistant' in roles and distiller.assistant.early_role == 'teacher':
            teacher = self.teacher.observe(inputs, distiller.teacher_observer)
            logits['teacher'] = teacher.logits
        elif 'teacher' in roles:
            logits['teacher'] = self.teacher.logits(inputs)
        given = dict(data_samples=deepcopy(data_samples), mode='predict') if 'student' in roles else dict(mode='tensor')
        student, predicted = distiller.student_observer(self.architecture, inputs, **given)
        if 'assistant' in roles:
            logits['assistant'] = distiller.run_assistant(student, teacher).logits
        return {role: predicted if role == 'student' else scored(data_samples, logits[role]) for role in roles}

    # ---- weights ---------------------------------------------------------------------------------------------------

    def train(self, mode: bool = True) -> TAS:
        """Set the training mode of every module except the teacher, which stays in eval mode."""
        return BaseAlgorithm.train(self, mode)  # MMRazor's version would look for the teacher's norms

    def get_layer_depth(self, param_name: str) -> tuple[int, int]:
        """Return the layer number of a parameter and the number of layers, for MMPretrain's layer-wise learning rates.

        Numbers are the same as without distillation. The distiller's parameters count as the student's head.
        """
        return self.student.get_layer_depth(param_name.removeprefix('architecture.'))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args: Any, **kwargs: Any) -> None:
        """Load weights of a distillation, or of the student only (``load_from`` or ``init_cfg`` of a plain config).

        Raises:
            ValueError: If no weight belongs to the student.
        """
        ours = f'{prefix}architecture.'
        if state_dict and not any(name.startswith(ours) for name in state_dict):
            found = [name for name in self.student.state_dict() if prefix + name in state_dict]
            if not found:
                raise ValueError(
                    f'load_from or init_cfg of model: none of its {len(state_dict)} entries, such as '
                    f'{next(iter(state_dict))!r}, is a weight of model.architecture. Expected names such as '
                    f'{next(iter(self.student.state_dict()))!r}. Give a checkpoint of a distillation or of the student'
                )
            for name in found:
                state_dict[ours + name] = state_dict.pop(prefix + name)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def scored(data_samples: list[BaseDataElement], logits: Tensor) -> list[BaseDataElement]:
    """Copy the samples and add predicted scores ``(num_classes, )`` and label, from logits ``(B, num_classes)``."""
    return [
        sample.clone().set_pred_score(score).set_pred_label(score.argmax())
        for sample, score in zip(data_samples, logits.softmax(dim=1))
    ]
