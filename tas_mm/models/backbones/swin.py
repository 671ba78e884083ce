"""The two small Swin Transformers that distillation papers use as students.

Swin-P (pico) and Swin-N (nano): OFA-KD, arXiv 2310.19444; TAS, arXiv 2410.12342.
"""

from mmpretrain.models.backbones import SwinTransformer as MMPretrainSwinTransformer

from tas_mm.registry import MODELS


@MODELS.register_module()
class SwinTransformer(MMPretrainSwinTransformer):
    """MMPretrain's Swin Transformer, with ``arch='pico'`` and ``arch='nano'`` added.

    Examples:
        >>> import torch
        >>> from tas_mm.models import SwinTransformer
        >>> SwinTransformer(arch='pico')(torch.zeros(1, 3, 224, 224))[0].shape
        torch.Size([1, 384, 7, 7])
    """

    arch_zoo = {
        **MMPretrainSwinTransformer.arch_zoo,
        **dict.fromkeys(['p', 'pico'], dict(embed_dims=48, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16])),
        **dict.fromkeys(['n', 'nano'], dict(embed_dims=64, depths=[2, 2, 2, 2], num_heads=[2, 4, 8, 16])),
    }

    @classmethod
    def plain_config(cls, config: dict) -> dict:
        """Return a config of the same network for MMPretrain's class, with the sizes written out.

        Args:
            config (dict): Config of this class.
        """
        arch = config.get('arch', 'tiny')
        return dict(config, type='SwinTransformer', arch=cls.arch_zoo[arch.lower()] if isinstance(arch, str) else arch)
