"""Places that building a network loads weights from, and whether they can be reached."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import Request, urlopen

import torch
from mmengine.runner.checkpoint import get_external_models, get_torchvision_models

from tas_mm.config import named_model, type_name

from .base import HUB
from .huggingface import HuggingFaceSource
from .timm import TimmSource

TIMEOUT = 10
"""Seconds to wait for a server's answer."""

HUB_WEIGHTS = ('model.safetensors', 'pytorch_model.bin', 'open_clip_model.safetensors', 'open_clip_pytorch_model.bin')
"""Names of weight files on the Hugging Face hub. Any of them is enough."""


def weights_read(config: Any, key: str) -> Iterator[tuple[str, str]]:
    """Yield the weights that building a network from a config loads: key in the config, and place.

    A place is a file, a URL, or ``hf-hub:REPO`` on the Hugging Face hub, with ``#FILE`` for one file of it.

    Args:
        config (Any): Model config, or any part of it.
        key (str): Key of ``config`` in the config of the run.

    Examples:
        >>> from tas_mm.models.sources import weights_read
        >>> teacher = dict(type='TimmClassifier', model_name='resnet18', checkpoint_path='r18.pth')
        >>> list(weights_read(teacher, 'model.teacher'))
        [('model.teacher.checkpoint_path', 'r18.pth')]
    """
    if isinstance(config, (list, tuple)):
        for i, value in enumerate(config):
            yield from weights_read(value, f'{key}[{i}]')
    if not isinstance(config, Mapping):
        return
    named = bool(config.get('cfg_path') and config.get('pretrained'))
    config = dict(named_model(config))
    if named:
        yield f'{key}.pretrained', config.pop('init_cfg')['checkpoint']
    for source in (TimmSource(), HuggingFaceSource()):
        yield from ((f'{key}.{name}', place) for name, place in source.reads(config))
    name = 'checkpoint' if type_name(config) in ('Pretrained', 'PretrainedInit') else 'pretrained'
    if isinstance(config.get(name), str):
        yield f'{key}.{name}', config[name]
    for name, value in config.items():
        yield from weights_read(value, f'{key}.{name}')


def why_missing(place: str) -> str | None:
    """Explain why weights cannot be read, where it looked for them, and what to do. None if they can be read.

    Args:
        place (str): A place from :func:`weights_read`.
    """
    if place.startswith(HUB):
        return _why_not_on_hub(*place.removeprefix(HUB).partition('#')[::2])
    url = _url_of(place)
    if url is None:
        path = os.path.expanduser(place)
        if os.path.isfile(path) or '://' in place or _has_backend(place):
            return None
        return f'{place!r} does not exist (looked for {os.path.abspath(path)}). Train it first, or name a file or URL'
    cached = Path(torch.hub.get_dir(), 'checkpoints', os.path.basename(urlparse(url).path))
    if cached.exists():
        return None
    reason = why_unreachable(url)
    return reason and (
        f'{url} is not cached (looked for {cached}) and cannot be fetched ({reason}). Fetch it on a machine with a '
        'network and save it as that file'
    )


def _url_of(place: str) -> str | None:
    """Return the URL that MMEngine would fetch. None for a file, or for a prefix that only MMEngine can resolve."""
    scheme, _, name = place.partition('://')
    if scheme in ('http', 'https'):
        return place
    listed = {'torchvision': get_torchvision_models, 'open-mmlab': get_external_models}
    return listed[scheme]().get(name) if scheme in listed else None


def _has_backend(place: str) -> bool:
    """Return True if a place is in one of MMEngine's storages, such as ``s3:...``, which are not checked here."""
    return place.split(':')[0] in ('s3', 'petrel', 'modelzoo', 'mmcls')


def _why_not_on_hub(repository: str, file: str) -> str | None:
    from huggingface_hub import constants, try_to_load_from_cache

    name, _, revision = repository.partition('@')
    for each in [file] if file else HUB_WEIGHTS:
        if isinstance(try_to_load_from_cache(name, each, revision=revision or None), str):
            return None
    offline = constants.HF_HUB_OFFLINE and 'HF_HUB_OFFLINE is set'
    reason = offline or why_unreachable(f'{constants.ENDPOINT}/api/models/{name}')
    return reason and (
        f'{file or "weights"} of {name!r} on the Hugging Face hub: not cached (looked for {constants.HF_HUB_CACHE}) '
        f'and cannot be fetched ({reason}). Run `hf download {name}` on a machine with a network, and copy that folder'
    )


@lru_cache
def why_unreachable(url: str) -> str | None:
    """Return the reason if a URL cannot be fetched, None if it can.

    Args:
        url (str): The URL. Only its header is requested.
    """
    try:
        with urlopen(Request(url, method='HEAD'), timeout=TIMEOUT):
            return None
    except HTTPError as error:  # other codes may concern the method of the request, or a missing login
        return f'HTTP {error.code} {error.reason}' if error.code in (404, 410) else None
    except URLError as error:
        return str(getattr(error.reason, 'strerror', None) or error.reason)
    except (OSError, ValueError) as error:
        return f'{type(error).__name__}: {error}'
