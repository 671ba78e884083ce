"""Read a teacher's own weights file: whether it fits a network, with or without its head."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from tas_mm.models.sources import TIMM
from tas_mm.models.stages import StageView
from tas_mm.models.teachers.weights import needed, read_weights

from .sources import Network


def own_weights(network: Network, checkpoint: str) -> tuple[dict[str, Tensor], bool]:
    """Read a weights file of a network, and tell whether it fits with the classifier, or only without.

    Args:
        network (Network): The network. It takes the weights besides the classifier's.
        checkpoint (str): The file: whatever ``teacher_ckpt`` takes.

    Returns:
        tuple: Weights under the network's names, without those of a classifier that does not fit, and whether it fits.

    Raises:
        ValueError: If the weights do not fit even without the classifier.
    """
    option = f'--teacher-ckpt {checkpoint}'
    if not Path(checkpoint).is_file():
        raise ValueError(f'{option}: there is no such file. Expected a file with weights of {network.name}')
    model = network.view.model
    state = dict(TIMM.as_loaded(read_weights(model, checkpoint, option, network.name), model))
    wrapper = network.source.prefix  # names in a library's own files lack it
    heads = tuple(name.removeprefix(wrapper) for name in head_layers(network.view))

    def of_head(name: str) -> bool:
        return name.removeprefix(wrapper).startswith(heads)

    body = {name: value for name, value in state.items() if not of_head(name)}
    unfit = f'{option} does not fit {network.name} besides the classifier'
    try:
        result = model.load_state_dict(body, strict=False)
    except RuntimeError as error:
        raise ValueError(f'{unfit}: {error}') from error
    parameters = {name for name, _ in model.named_parameters()}
    missing = [name for name in needed(result.missing_keys, parameters) if not of_head(name)]
    if missing:
        raise ValueError(
            f'{unfit}: {len(missing)} of its parameters and statistics are not in the file, such as '
            f'{missing[0]!r}. The file has names such as {next(iter(state), "none at all")!r}'
        )
    head = {name: value.shape for name, value in model.state_dict().items() if of_head(name)}
    fits = all(getattr(state.get(name), 'shape', None) == shape for name, shape in head.items())
    return (state if fits else body), fits


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
