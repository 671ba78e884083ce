"""The hybrid assistant: early stages of one network, late stages of the other, and one small projector between them.

Source: TAS, arXiv 2410.12342, Sec. 3:

    p_A(x) = head_late . stage4_late . projector . stage3_early . stage2_early . stage1_early (x)

Local features come first and global mixing last, whichever side is the CNN. The modules are those of teacher and
student themselves, not copies. The early stages have run already, with their own network: the assistant starts
from their recorded output.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from mmrazor.models.architectures.connectors.base_connector import BaseConnector
from torch import Tensor, nn

from tas_mm.registry import MODELS, not_registered

from ..stages import CLASS_TOKENS, Knowledge, StagedClassifier
from .statistics import OwnStatistics

ROLES = ('student', 'teacher')


def early_role(student: StagedClassifier, teacher: StagedClassifier) -> str:
    """Which network gives the early part: the teacher only if it alone is a CNN (method of the paper)."""
    return 'teacher' if teacher.family == 'cnn' and student.family != 'cnn' else 'student'


def projector_type(early: StagedClassifier, late: StagedClassifier) -> str:
    """The projector for a pair: L2G from a CNN to attention or MLP (the paper's); the others are our choice."""
    if late.family == 'cnn':
        return 'tas_mm.ConvProjector'
    return 'tas_mm.L2GProjector' if early.family == 'cnn' else 'tas_mm.LinearProjector'


def in_its_type(model: nn.Module, x: Tensor) -> tuple[AbstractContextManager, Tensor]:
    """Autocast to bfloat16 for a model that is kept in it and gets an input that is not; and that input.

    Autocast knows one narrow type only: float16, from an autocast around this one, becomes float32.
    """
    if x.dtype == torch.bfloat16 or all(p.dtype != torch.bfloat16 for p in model.parameters()):
        return nullcontext(), x
    return torch.autocast(x.device.type, torch.bfloat16), x.float()


@MODELS.register_module()
class HybridAssistant(BaseConnector):
    """Connector from the recorded output of the last early stage to the assistant's knowledge.

    It holds views of teacher and student, which are no modules: its parameters are the projector's alone, and its state
    dict has besides at most the running statistics of the next paragraph.

    With a late part from the student (the teacher alone is a CNN) the student's last stages run twice a training step,
    on two distributions of features. Batch norm layers in them normalise either with its own batch's statistics, and
    keep running ones for each: the student is used without the assistant, and a mixture would fit neither. Activation
    checkpointing applies to the student's own pass only. DropPath and dropout act in both passes, drawn anew.

    Args:
        early (str, optional): ``'student'`` or ``'teacher'``, the network of the early stages. Defaults to None: chosen
            by the pair's families.
        early_stages (int): How many stages the early network gives, 1 to 4. Defaults to 3, the paper's best.
        late_stages (int): How many the late network gives before its head, 0 to 3; 0 is the paper's ablation B.
            Defaults to 1.
        projector (dict, optional): Config of the projector; without ``type`` it keeps the type that suits the pair.
            Defaults to None.
        class_token (str): What a late part that has class tokens starts from: ``'mean'``, the mean of the projected
            tokens, or ``'own'``, those of its network, which have seen nothing of the image and have the last stage
            alone to look; without a late stage it is always the mean. The paper does not say; docs/benchmark.md has
            both. Without effect on networks without class tokens. Defaults to ``'mean'``.

    Raises:
        ValueError: If a value is none of those named above.
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
                    f'model.distiller.assistant.{name}={value!r}, but valid are {", ".join(map(repr, valid))}'
                )
        self.early_role = early
        self.early_stages = early_stages
        self.late_stages = late_stages
        self.projector_cfg = dict(projector or {})
        self.class_token = class_token

    def bind(self, student: StagedClassifier, teacher: StagedClassifier) -> None:
        """Bind the assistant to the two networks and build the projector that fits between them.

        Raises:
            ValueError: If the late network's last stages, run by themselves, do not give what the whole network gives.
        """
        views = dict(student=student, teacher=teacher)
        self.early_role = self.early_role or early_role(student, teacher)
        self.late_role = 'teacher' if self.early_role == 'student' else 'student'
        self.early, self.late = views[self.early_role], views[self.late_role]
        self.late.check_tail(self.start)
        # A class token that no block follows has seen nothing of the image: it takes the mean whatever was asked for.
        self.late.class_token = self.class_token if self.late_stages else 'mean'
        self.statistics = OwnStatistics(self.late, self.start) if self.late_role == 'student' else None
        given = self.early.stages[self.early_stages - 1]
        wanted = self.late.stages[self.start - 2]
        self.projector_cfg.setdefault('type', projector_type(self.early, self.late))
        if self.late.any_size:
            self.projector_cfg.setdefault('any_size', True)
        if MODELS.get(self.projector_cfg['type']) is None:
            raise ValueError(f'model.distiller.assistant.projector.type={not_registered(self.projector_cfg["type"])}')
        self.projector = MODELS.build(
            dict(
                self.projector_cfg,
                in_channels=given.channels,
                out_channels=wanted.channels,
                in_grid=given.grid,
                out_grid=wanted.grid,
            )
        )

    @property
    def start(self) -> int:
        """Number of the first late stage; 5 if there is none."""
        return 5 - self.late_stages

    @property
    def recorder(self) -> str:
        """Name of the recorder, on the early network's side, that the assistant starts from."""
        return f'stage{self.early_stages}'

    def forward_train(self, feature: Tensor) -> Knowledge:
        """Run projector, late stages and head.

        Args:
            feature (Tensor): Output of the last early stage as a map, ``(B, C, H, W)``.

        Returns:
            Knowledge: The assistant's pooled feature ``(B, C_late)`` and logits ``(B, num_classes)``.
        """
        self._check_graph(feature)
        x = self.projector(feature)
        if self.statistics is not None:
            own = self.statistics.in_place()
        else:  # the teacher's late part, in eval mode: nothing of it is updated; it may be kept in a type of its own
            own, x = in_its_type(self.late.model, x)
        with own:
            return self.late.tail(self.late.from_map(x, self.start - 1), self.start)

    def _check_graph(self, feature: Tensor) -> None:
        """Refuse a record of the student's that was cut off from its graph, which nothing else would show."""
        source = self.early.stages[self.early_stages - 1].source
        trains = any(p.requires_grad for p in self.early.model.get_submodule(source).parameters())
        if torch.is_grad_enabled() and trains and not feature.requires_grad:
            raise ValueError(
                f'{self.early.key}: the output of {source} has no gradient. Activation checkpointing around a whole '
                f'stage or more hides it: take modules inside of the stages, or {source} itself, in '
                'activation_checkpointing, or the with_cp option of the backbone'
            )
