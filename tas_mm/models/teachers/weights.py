"""Read and check a teacher's weights, and compute their fingerprint."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

import torch
from mmengine.logging import print_log
from torch import Tensor, nn

from ..loading import read_checkpoint
from ..sources import TIMM

RAW = ('state_dict', 'model', 'model_state_dict', 'model_state', 'weights', 'module', 'net', 'network')
AVERAGED = ('state_dict_ema', 'model_ema', 'ema_model', 'ema')
"""Keys under which checkpoint files store weights."""

WRAPPERS = re.compile(r'\b(module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.')
"""Prefixes and infixes that DDP, compilers and other wrappers add to the names of weights."""


def load_weights(teacher: nn.Module, checkpoint: str) -> None:
    """Load a teacher's weights from a checkpoint of MMEngine or timm, or of the student of an earlier distillation.

    Every parameter and running statistic must be in the file. Other buffers, which older checkpoints lack, keep their
    values.

    Args:
        teacher (nn.Module): The network.
        checkpoint (str): File or URL.

    Raises:
        ValueError: If the file cannot be read, does not fit, or has weights that are not finite.
    """
    key = f'model.teacher_ckpt={checkpoint!r}'
    state = read_weights(teacher, checkpoint, key)
    try:
        state = dict(TIMM.as_loaded(state, teacher))
        result = teacher.load_state_dict(state, strict=False)
    except (RuntimeError, KeyError, AttributeError) as error:  # shapes or names differ
        raise ValueError(
            f'{key} does not fit model.teacher: {error}. If the class counts differ, fine-tune the teacher on your '
            'data first'
        ) from error
    parameters = {name for name, _ in teacher.named_parameters()}
    missing = needed(result.missing_keys, parameters)
    if missing:
        raise ValueError(
            f'{key} does not fit model.teacher: {len(missing)} of its parameters and statistics are not in the file, '
            f'such as {missing[0]!r}. The file has names such as {next(iter(state), "none at all")!r}'
        )
    spoilt = [n for n, x in state.items() if n in parameters and not x.isfinite().all()]
    if spoilt:
        raise ValueError(
            f'{key} has weights that are not finite (NaN or infinity), such as {spoilt[0]!r}: its training failed. '
            'Use an earlier checkpoint'
        )
    if result.unexpected_keys:
        print_log(
            f'{key}: {len(result.unexpected_keys)} of its entries are not in model.teacher, such as '
            f'{result.unexpected_keys[0]!r}',
            logger='current',
            level=logging.WARNING,
        )


def read_weights(network: nn.Module, checkpoint: str, key: str, name: str = 'model.teacher') -> dict[str, Tensor]:
    """Read the weights of a network from a file, under the network's names.

    Args:
        network (nn.Module): The network.
        checkpoint (str): File or URL.
        key (str): Name of the file in errors.
        name (str): Name of the network in errors. Defaults to ``'model.teacher'``.

    Raises:
        ValueError: If the file cannot be read, or has several sets of weights that fit.
    """
    try:
        loaded = read_checkpoint(checkpoint, logger='current')
        sets = sets_of_weights(loaded, averaged_first=TIMM.tag(network) is not None)
    except Exception as error:
        raise ValueError(f'{key} cannot be read as a checkpoint: {type(error).__name__}: {error}') from error
    return named_as(sets, {*network.state_dict()}, key, name)


def needed(names: Collection[str], parameters: Collection[str]) -> list[str]:
    """Select what a file must have: parameters and running statistics. Older files lack other buffers."""
    return [name for name in names if name in parameters or name.endswith(('running_mean', 'running_var'))]


def sets_of_weights(loaded: Mapping, averaged_first: bool) -> dict[str, dict[str, Tensor]]:
    """Find the weights in a loaded file, as the toolbox that wrote it would.

    Args:
        loaded (Mapping): Contents of the file.
        averaged_first (bool): Whether averaged weights come before raw ones, as in timm. MMEngine's files already have
            the averaged ones under ``state_dict``.

    Returns:
        dict: Sets of weights by their key in the file: one, or several if none of the keys is known.

    Raises:
        ValueError: If there are none.
    """
    known = (*RAW, *AVERAGED) if not averaged_first else (*AVERAGED, *RAW)
    for name in known:
        if isinstance(loaded.get(name), Mapping):
            return sets_of_weights(loaded[name], averaged_first)
    flat = {name: value for name, value in loaded.items() if isinstance(value, Tensor)}
    if flat:
        return {'': flat}
    nested = {}
    for name, value in loaded.items():
        if isinstance(value, Mapping) and any(isinstance(leaf, (Tensor, Mapping)) for leaf in value.values()):
            with suppress(ValueError):
                nested[name] = next(iter(sets_of_weights(value, averaged_first).values()))
    if not nested:
        raise ValueError(f'it has no weights. Got {", ".join(map(str, loaded)) or "nothing"}')
    return nested


def named_as(
    sets: Mapping[str, dict[str, Tensor]], wanted: Collection[str], key: str, network: str
) -> dict[str, Tensor]:
    """Select the set of weights that a network needs, under the network's names.

    Names lose what wrappers and compilers add, and the prefix of the network inside a larger model.

    Args:
        sets (Mapping): Sets from :func:`sets_of_weights`.
        wanted (collection): Names of the network's weights.
        key (str): Name of the file in errors.
        network (str): Name of the network in errors.

    Raises:
        ValueError: If several sets or prefixes fit the network.
    """
    found: dict[str, dict[str, Tensor]] = {}
    for name, state in sets.items():
        state = {WRAPPERS.sub('', entry): value for entry, value in state.items()}
        student = {entry: value for entry, value in state.items() if entry.startswith('architecture.')}
        for prefix, stripped in _by_prefix(student or state).items():
            found['.'.join(filter(None, (name, prefix.rstrip('.'))))] = stripped
    fits = {name: len(wanted & stripped.keys()) for name, stripped in found.items()}
    best = [name for name, count in fits.items() if count == max(fits.values())]
    if len(best) > 1 and max(fits.values()) > 0 and '' not in best:
        raise ValueError(
            f'{key} has several sets of weights that fit {network}: {", ".join(sorted(best))}. Save one of them '
            'in a separate file'
        )
    return found['' if '' in best else best[0]]


def _by_prefix(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the weights under every prefix of up to three parts, without the prefix."""
    prefixes = {'': None}
    for name in state:
        parts = name.split('.')
        prefixes.update(dict.fromkeys('.'.join(parts[:i]) + '.' for i in range(1, min(4, len(parts)))))
    return {
        prefix: {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        for prefix in prefixes
    }


def random_parameters(build: Callable[[], nn.Module], network: nn.Module) -> list[str]:
    """Find the parameters of a network that were not loaded but drawn at random.

    The network is built again with another random state: loaded parameters have the same values.

    Args:
        build (callable): Builds the network again, with the weights that its config loads.
        network (nn.Module): The network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torch.initial_seed() + 1)
        other = dict(build().named_parameters())
    return [name for name, value in network.named_parameters() if not torch.equal(value, other[name].to(value.device))]


def fingerprint(teacher: nn.Module) -> str:
    """Hash a network's weights: names, types, shapes and bytes of all that it saves (BLAKE2b, 16 hex digits)."""
    digest = hashlib.blake2b(digest_size=8)
    for name, value in teacher.state_dict().items():
        if isinstance(value, Tensor):
            digest.update(f'{name} {value.dtype} {tuple(value.shape)}'.encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
