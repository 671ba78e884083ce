"""Check a teacher's own weights: whether they fit a network, with or without its head."""

from __future__ import annotations

from pathlib import Path

from tas_mm.models.loading import read_checkpoint
from tas_mm.models.sources import TIMM
from tas_mm.models.stages import StageView

from .sources import Network


def head_fits(network: Network, checkpoint: str) -> bool:
    """Return True if a weights file fits a network with its classifier, False if only without.

    Args:
        network (Network): The network.
        checkpoint (str): The file.

    Raises:
        ValueError: If the weights do not fit even without the classifier.
    """
    option = f'--teacher-ckpt {checkpoint}'
    if not Path(checkpoint).is_file():
        raise ValueError(f'{option}: there is no such file. Expected a file with weights of {network.name}')
    try:
        loaded = read_checkpoint(checkpoint)
    except Exception as error:
        raise ValueError(f'{option} cannot be read as a checkpoint: {type(error).__name__}: {error}') from error
    loaded = loaded.get('state_dict', loaded.get('model', loaded))
    loaded = {name.removeprefix('module.').removeprefix('architecture.'): value for name, value in loaded.items()}
    model = network.view.model
    loaded = TIMM.as_loaded(loaded, model)
    wanted = {name: value.shape for name, value in model.state_dict().items()}
    needed = {name for name, _ in model.named_parameters()}
    wrapper = network.source.prefix
    needed |= {name.removeprefix(wrapper) for name in needed}  # the library's files do not name the wrapper
    heads = tuple(name.removeprefix(wrapper) for name in head_layers(network.view))
    wrong = [
        name for name, shape in wanted.items() if name in needed and getattr(loaded.get(name), 'shape', None) != shape
    ]
    others = [name for name in wrong if not name.removeprefix(wrapper).startswith(heads)]
    if others:
        seen = tuple(loaded[others[0]].shape) if others[0] in loaded else 'is not in it'
        raise ValueError(
            f'{option} does not fit {network.name}: {len(others)} parameters besides the classifier, such as '
            f'{others[0]}, are not in the file or have another shape ({seen}, wanted {tuple(wanted[others[0]])})'
        )
    return not wrong


def head_layers(view: StageView) -> list[str]:
    """List the layers that give the logits: one, or two if a distillation token has its own.

    Args:
        view (StageView): View of the network.
    """
    classifier = view.classifier
    parent, _, name = classifier.rpartition('.')
    twins = [
        child for child, _ in view.model.get_submodule(parent).named_children() if child.startswith(f'{name}_dist')
    ]
    return [classifier, *(f'{parent}.{twin}' for twin in twins)]
