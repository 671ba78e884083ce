"""Networks that return the student's feature, or that feature in the teacher's space, instead of logits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseModel
from torch import Tensor, nn

from tas_mm.models.losses.projected import projection as build_projection
from tas_mm.models.observer import Observer
from tas_mm.models.stages import view_of
from tas_mm.models.utils import Grid

LOSS = re.compile(r'^distiller\.(?:distillers\.(\d+)\.)?distill_losses\.(\w+)\.(.+)$')
"""Names of the losses' weights in a checkpoint: number of the teacher, if there are several; loss; weight."""
DEFAULT = 'loss_ts_nce'
"""Name of ``TASDistiller``'s loss between the features of student and teacher."""


class Embedding(nn.Module):
    """Network that returns its pooled feature ``(B, C)``, or a projection of it.

    Args:
        model (BaseModel): The network.
        input_size (tuple): Height and width of its images.
        projection (nn.Module, optional): Projection of the feature. Defaults to None.
        kind (str, optional): Kind of feature, as ``student_feature`` of a distiller. Defaults to None.

    Examples:
        >>> import torch
        >>> from tas_mm.recipes.sources import build_classifier
        >>> from tas_mm.student.embedding import Embedding
        >>> model = build_classifier('timm:resnet18').eval()
        >>> Embedding(model, (64, 64), torch.nn.Linear(512, 384))(torch.zeros(2, 3, 64, 64)).shape
        torch.Size([2, 384])
    """

    def __init__(
        self, model: BaseModel, input_size: Grid, projection: nn.Module | None = None, kind: str | None = None
    ) -> None:
        super().__init__()
        self.model, self.projection = model, projection
        self.data_preprocessor = getattr(model, 'data_preprocessor', None)
        self._view = view_of(model, input_size, 'the student', kind)
        self._observer = Observer(self._view, knowledge=('feature',))
        width, expected = self._view.feature_dim, _width(projection)
        if expected not in (None, width):
            raise ValueError(
                f"the projection takes {expected} channels, but the student's feature has {width}. Name a loss that "
                'reads the feature with --projection'
            )

    def forward(self, images: Tensor) -> Tensor:
        """Return the feature of normalized images, or its projection."""
        seen, _ = self._observer(self._view.run, images)
        return seen.feature if self.projection is None else self.projection(seen.feature)


def gives_logits(model: BaseModel, input_size: Grid) -> bool:
    """Return True if a student has a head. A network without a stage view counts as having one."""
    try:
        return not view_of(model, input_size).headless
    except ValueError:
        return True


def read_projection(checkpoint: Mapping[str, Any], name: str = '') -> tuple[nn.Module, str | None]:
    """Build the trained projection of the student's feature into the teacher's space.

    Args:
        checkpoint (mapping): A checkpoint of a distillation.
        name (str): Name of its loss, such as ``loss_ts_nce``, or ``teacher0.loss_ts_nce`` with several teachers.
            Defaults to '': the loss of the path from the teacher, or else the only one.

    Returns:
        tuple: The projection, and the kind of feature that it reads (``student_feature`` of the distiller).

    Raises:
        ValueError: If there is no such loss or several, or if its projection leads to another space.
    """
    losses: dict[str, dict[str, Tensor]] = {}
    for key, value in checkpoint.get('state_dict', checkpoint).items():
        if found := LOSS.match(key):
            teacher = '' if found[1] is None else f'teacher{found[1]}.'
            losses.setdefault(teacher + found[2], {})[found[3]] = value
    # On the paper's other paths the assistant is learner or target.
    names = [each for each in losses if not each.rpartition('.')[2].startswith(('loss_ta_', 'loss_as_'))]
    preferred = [each for each in names if each.rpartition('.')[2] == DEFAULT]
    names = preferred or [each for each in names if any(key.startswith('projection.') for key in losses[each])]
    if (name and name not in losses) or (not name and len(names) != 1):
        there = ', '.join(names) or 'none: only checkpoints of a distillation have them, not a file of the student'
        raise ValueError(f'--projection{name and " " + name}: expected one loss between features. Got {there}')
    name = name or names[0]
    weights = losses[name]
    if any(key.startswith('balance.') for key in weights):
        raise ValueError(f"--projection {name}: it leads to balanced features, which are not the teacher's own")
    text = (checkpoint.get('meta') or {}).get('cfg') or ''
    return _built(name, weights), _feature_kind(text)


def _built(name: str, weights: Mapping[str, Tensor]) -> nn.Module:
    state = {key.removeprefix('projection.'): value for key, value in weights.items() if key.startswith('projection.')}
    if not state:
        return nn.Identity()  # both features have the same width
    layers = [value for key, value in state.items() if key.endswith('weight')]
    ratio = None if len(layers) == 1 else layers[0].shape[0] / layers[0].shape[1]
    built = build_projection(layers[0].shape[1], layers[-1].shape[0], ratio)
    try:
        built.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f'--projection {name}: its weights {", ".join(state)} are not those of a linear layer or of an MLP of two'
        ) from error
    return built.eval().requires_grad_(False)


def _feature_kind(text: str) -> str | None:
    from .config import config_from_text

    distiller = (config_from_text(text).get('model') or {}).get('distiller') if text else None
    return distiller.get('student_feature') if isinstance(distiller, (dict, Config)) else None


def _width(projection: nn.Module | None) -> int | None:
    layers = [] if projection is None else [m for m in projection.modules() if isinstance(m, nn.Linear)]
    return layers[0].in_features if layers else None
