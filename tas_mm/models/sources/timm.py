"""Networks of timm."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from torch import Tensor, nn

from tas_mm.config import type_name

from .base import HUB, NetworkSource, Published


class TimmSource(NetworkSource):
    """timm: networks in a ``TimmClassifier``, or as the ``TIMMBackbone`` of an ``ImageClassifier``."""

    name = 'timm'
    wrapper = 'TimmClassifier'
    prefix = 'model.'
    backbone = 'TIMMBackbone'

    def names(self) -> list[str]:
        """List timm's networks."""
        import timm

        return timm.list_models()

    def has(self, name: str) -> bool:
        """Return True if timm has the network. A name may have a tag, as in ``resnet18.a1_in1k``."""
        import timm

        return timm.is_model(name)

    def classifier(self, name: str, num_classes: int, **options: Any) -> dict:
        """Return the config of a ``TimmClassifier``."""
        return dict(type=self.wrapper, model_name=name, num_classes=num_classes, pretrained=False, **options)

    def published(self, name: str, model: nn.Module) -> Published:
        """Return the weights and normalization that the network's pretrained tag lists."""
        tag = self.tag(model)
        if tag is None:
            return Published()
        normalization = {key: [round(255 * value, 3) for value in tag[key]] for key in ('mean', 'std')}
        if tag.get('hf_hub_id') or tag.get('url'):
            return Published(dict(pretrained=True), tag['num_classes'], normalization)
        return Published(normalization=normalization)

    def reads(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        """List the checkpoint that a config names, or else the one of the pretrained tag, as timm would load it."""
        if type_name(config) not in (self.wrapper, self.backbone):
            return []
        if config.get('checkpoint_path'):
            return [('checkpoint_path', config['checkpoint_path'])]
        prefix, _, name = config['model_name'].partition(':')
        if prefix in ('hf-hub', 'hf_hub'):
            return [('model_name', HUB + name + ('' if config.get('pretrained') else '#config.json'))]
        if not config.get('pretrained') or prefix == 'local-dir' or not self.has(config['model_name']):
            return []
        from timm.models import get_pretrained_cfg

        tag = get_pretrained_cfg(config['model_name'])
        place = tag and (tag.file or (HUB + tag.hf_hub_id if tag.hf_hub_id else tag.url))
        return [('pretrained', place)] if place else []

    def resize(self, config: dict, size: int) -> None:
        """Set the argument ``img_size`` of the network."""
        (config if type_name(config) == self.wrapper else config['backbone'])['img_size'] = size

    def with_loss(self, config: dict, loss: dict) -> dict:
        """Set the argument ``loss`` of a ``TimmClassifier``."""
        return dict(config, loss=loss) if type_name(config) == self.wrapper else config

    @staticmethod
    def tag(model: nn.Module) -> Mapping[str, Any] | None:
        """Return the pretrained tag of the first timm network in a model, with its ``mean`` and ``std`` (0 to 1).

        Args:
            model (nn.Module): A classifier or backbone.
        """
        tags = (getattr(module, 'pretrained_cfg', None) for module in model.modules())
        return next((tag for tag in tags if isinstance(tag, dict) and tag.get('mean') and tag.get('std')), None)

    @staticmethod
    def as_loaded(state: Mapping[str, Tensor], model: nn.Module) -> Mapping[str, Tensor]:
        """Convert weights as timm does when it loads them: other authors' names, position tables of another size.

        Weights that fit, and those for networks of other libraries, stay as they are.

        Args:
            state (Mapping): Weights by name, with or without the name of timm's network inside the model.
            model (nn.Module): The model.
        """
        networks = ((n, m) for n, m in model.named_modules() if isinstance(getattr(m, 'pretrained_cfg', None), dict))
        name, network = next(networks, ('', None))
        if network is None:
            return state
        prefix = f'{name}.' if name and any(key.startswith(f'{name}.') for key in state) else ''
        given = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        if all(key in given and given[key].shape == value.shape for key, value in network.named_parameters()):
            return state
        modules = (sys.modules[cls.__module__] for cls in type(network).__mro__)
        convert = next(
            (module.checkpoint_filter_fn for module in modules if hasattr(module, 'checkpoint_filter_fn')), None
        )
        if convert is None:
            return state
        others = {key: value for key, value in state.items() if not key.startswith(prefix)}
        return {**others, **{f'{prefix}{key}': value for key, value in convert(given, network).items()}}

    def native_options(self, config: Config) -> dict[str, Any] | None:
        """Return the arguments of ``timm.create_model`` for a classifier. None if it is not one of timm's.

        Args:
            config (Config): Model config of the classifier.
        """
        if type_name(config) == self.wrapper:
            ours = ('type', 'loss', 'train_cfg', 'with_cp', 'data_preprocessor', 'init_cfg')
            return {key: value for key, value in config.to_dict().items() if key not in ours}
        backbone = config.get('backbone', {})
        if type_name(backbone) != self.backbone or backbone.get('features_only'):
            return None
        own = ('type', 'init_cfg', 'in_channels', 'features_only')
        options = {key: value for key, value in backbone.to_dict().items() if key not in own}
        classes = config.head.num_classes if config.get('head') else 0
        return dict(options, num_classes=classes, in_chans=backbone.get('in_channels', 3))

    def native_weights(self, config: Config, state: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
        """Rename a classifier's weights to timm's names.

        Args:
            config (Config): Model config of the classifier.
            state (Mapping): Weights of the classifier.
            net (nn.Module): The network that timm builds.
        """
        if type_name(config) == self.wrapper:
            return dict(state)
        head = net.pretrained_cfg['classifier']
        state = {key.removeprefix('backbone.timm_model.'): value for key, value in state.items()}
        return {re.sub(r'^head\.fc\.', f'{head}.', key): value for key, value in state.items()}
