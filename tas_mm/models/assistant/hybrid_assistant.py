"""The hybrid assistant: early stages of one network, late stages of the other, and one small projector between them.

Source: TAS, arXiv 2410.12342, Sec. 3:

    p_A(x) = head_late . stage4_late . projector . stage3_early . stage2_early . stage1_early (x)

Local features come first and global mixing comes last, whichever side is the CNN. The modules are the teacher's and the
student's own, not copies. The early stages have already run in the pass of their own network: the assistant starts from
their output.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from torch import Tensor

from tas_mm.registry import MODELS, not_registered

from ..knowledge import Knowledge
from ..stages import CLASS_TOKENS, Observer, StageView
from ..utils import teacher_autocast
from .batch_norm import OwnStatistics

ROLES = ('student', 'teacher')


def early_role(student: StageView, teacher: StageView) -> str:
    """Return the role that gives the early part: the teacher if only it is a CNN, as in the paper, else the student."""
    return 'teacher' if teacher.family == 'cnn' and student.family != 'cnn' else 'student'


def projector_type(early: StageView, late: StageView) -> str:
    """Return the projector's type for a pair: L2G from a CNN to attention or MLP, as in the paper, else our choice."""
    if late.family == 'cnn':
        return 'tas_mm.ConvProjector'
    return 'tas_mm.L2GProjector' if early.family == 'cnn' else 'tas_mm.LinearProjector'


@MODELS.register_module()
class HybridAssistant(BaseConnector):
    """Connector from the output of the last early stage to the assistant's feature and logits.

    It holds views of teacher and student, which are not modules. Its only parameters are the projector's. Its state
    dict also has the running statistics of the next paragraph, if there are any.

    If the late part is the student's (only the teacher is a CNN), the student's last stages run twice in a training
    step, on features of two distributions. Their batch norms use the statistics of the current batch in each pass. They
    keep separate running statistics, because the student is used without the assistant. Activation checkpointing
    applies to the student's own pass only. DropPath and dropout are sampled anew in each pass.

    Args:
        early (str, optional): ``'student'`` or ``'teacher'``, the network of the early stages. Defaults to None: chosen
            by the families of the pair.
        early_stages (int): Number of stages taken from the early network, 1 to 4. Defaults to 3, the paper's best.
        late_stages (int): Number of stages taken from the late network, besides its head, 0 to 3. 0 is the paper's
            ablation B. Defaults to 1.
        projector (dict, optional): Config of the projector. Without ``type`` the pair decides. Defaults to None.
        class_token (str): Input of a late part that has class tokens: ``'mean'``, the mean of the projected tokens, or
            ``'own'``, the late network's learned tokens. The learned tokens have seen nothing of the image before the
            last stage, so without a late stage the mean is always used. The paper does not say which it takes;
            docs/benchmark.md compares both. Defaults to ``'mean'``.

    Raises:
        ValueError: If an option has none of these values.

    Examples:
        >>> from tas_mm.models import HybridAssistant
        >>> from tas_mm.recipes.sources import build_classifier
        >>> from tas_mm.models.stages import view_of
        >>> import torch
        >>> student, teacher = build_classifier('timm:resnet18'), build_classifier('timm:vit_tiny_patch16_224')
        >>> assistant = HybridAssistant()
        >>> assistant.bind(view_of(student), view_of(teacher))
        >>> knowledge = assistant(torch.zeros(2, 256, 14, 14, requires_grad=True))
        >>> tuple(knowledge.feature.shape), tuple(knowledge.logits.shape)
        ((2, 192), (2, 10))
    """

    def __init__(
        self,
        early: str | None = None,
        early_stages: int = 3,
        late_stages: int = 1,
        projector: dict | None = None,
        class_token: str = 'mean',
    ) -> None:
        super().__init__()
        for name, value, valid in (
            ('early', early, (None, *ROLES)),
            ('early_stages', early_stages, (1, 2, 3, 4)),
            ('late_stages', late_stages, (0, 1, 2, 3)),
            ('class_token', class_token, CLASS_TOKENS),
        ):
            if value not in valid:
                raise ValueError(
                    f'model.distiller.assistant.{name}={value!r}. Expected one of {", ".join(map(repr, valid))}'
                )
        self.early_role = early
        self.early_stages = early_stages
        self.late_stages = late_stages
        self.start = 5 - late_stages  # number of the first late stage; 5 without a late stage
        self.projector_cfg = dict(projector or {})
        # Without a late stage no block would let a class token see the image, so it takes the mean.
        self.class_token = class_token if late_stages else 'mean'

    def bind(self, student: StageView, teacher: StageView) -> None:
        """Bind the assistant to the two networks, and build the projector between them.

        Raises:
            ValueError: If running the late network's last stages alone does not reproduce its output.
        """
        views = dict(student=student, teacher=teacher)
        self.early_role = self.early_role or early_role(student, teacher)
        self.late_role = 'teacher' if self.early_role == 'student' else 'student'
        self.early, self.late = views[self.early_role], views[self.late_role]
        self._check_late_part()
        self.observer = Observer(self.late)
        self.statistics = OwnStatistics(self.late, self.start) if self.late_role == 'student' else None
        self.projector = self._build_projector()

    def _check_late_part(self) -> None:
        try:
            self.late.check_tail(self.start)
        except ValueError as error:
            raise ValueError(
                f'{error}. Make it the early part: model.distiller.assistant.early={self.late_role!r}'
            ) from error

    def _build_projector(self) -> torch.nn.Module:
        given, wanted = self.early.stages[self.early_stages - 1], self.late.stages[self.start - 2]
        self.projector_cfg.setdefault('type', projector_type(self.early, self.late))
        if self.late.any_size:
            self.projector_cfg.setdefault('any_size', True)
        if MODELS.get(self.projector_cfg['type']) is None:
            raise ValueError(f'model.distiller.assistant.projector.type={not_registered(self.projector_cfg["type"])}')
        shapes = dict(
            in_channels=given.channels, out_channels=wanted.channels, in_grid=given.grid, out_grid=wanted.grid
        )
        return MODELS.build(dict(self.projector_cfg, **shapes))

    def forward(self, feature: Tensor, regions: Tensor | None = None) -> Knowledge:
        """Run the projector, the late stages and the head.

        Args:
            feature (Tensor): Output of the last early stage as a map ``(B, C, H, W)``.
            regions (Tensor, optional): Regions ``(N, 5)`` of a detector's batch whose features are wanted. Defaults to
                None.

        Returns:
            Knowledge: The assistant's pooled feature ``(B, C_late)`` and logits ``(B, num_classes)``.
        """
        self._check_graph(feature)
        x = self.projector(feature)
        context: AbstractContextManager
        if self.statistics is not None:
            context = self.statistics.in_place()
        else:  # the teacher is in eval mode and updates nothing, and may be stored in bfloat16
            context, x = teacher_autocast(self.late.model, x)
        with context:
            native = self.late.from_map(x, self.start - 1, self.class_token)
            seen, _ = self.observer(self.late.run_tail, native, self.start, regions=regions)
        return Knowledge(seen.feature, seen.logits)

    forward_train = forward  # the name that MMRazor calls

    def _check_graph(self, feature: Tensor) -> None:
        """Raise if the student's stage output has no gradient. Nothing else would show it."""
        source = self.early.stages[self.early_stages - 1].source
        trains = any(p.requires_grad for p in self.early.model.get_submodule(source).parameters())
        if torch.is_grad_enabled() and trains and not feature.requires_grad:
            raise ValueError(
                f'{self.early.key}: the output of {source} has no gradient, because activation checkpointing covers a '
                f'whole stage or more. In activation_checkpointing name modules inside of the stages, or {source} '
                'itself, or use the with_cp option of the backbone'
            )
