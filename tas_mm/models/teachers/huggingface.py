"""Hugging Face's networks without a head."""

from __future__ import annotations

from typing import Any

from mmengine.model import BaseModel
from torch import Tensor

from tas_mm.registry import MODELS


@MODELS.register_module()
class HuggingFaceBackbone(BaseModel):
    """A Hugging Face network without a head, as ``AutoModel`` builds it. For CLIP and the like, the image encoder.

    ``HuggingFaceClassifier`` of MMPretrain is the counterpart with a head.

    Args:
        model_name (str): Name on the hub, or a folder.
        pretrained (bool): Whether to load the published weights. Defaults to False.
        data_preprocessor (dict, optional): Its ``mean`` and ``std`` normalize the images. Defaults to None: values of
            the network's image processor.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.
        **kwargs: More options of ``from_pretrained``, such as ``revision``, or of the network's config.
    """

    def __init__(
        self,
        model_name: str,
        pretrained: bool = False,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
        **kwargs: Any,
    ) -> None:
        if data_preprocessor is not None:
            data_preprocessor = {'type': 'mmpretrain.ClsDataPreprocessor', **data_preprocessor}
        super().__init__(data_preprocessor, init_cfg)
        from transformers import AutoConfig, AutoModel

        if pretrained:
            model = AutoModel.from_pretrained(model_name, **kwargs)
        else:
            model = AutoModel.from_config(AutoConfig.from_pretrained(model_name, **kwargs))
        self.model = getattr(model, 'vision_model', model)
        self.model.config._name_or_path = model_name
        self._is_init = True  # by transformers

    def forward(self, inputs: Tensor, data_samples: list | None = None, mode: str = 'tensor') -> Any:
        """Return the network's output for images ``(B, C, H, W)``, in every mode."""
        return self.model(inputs)
