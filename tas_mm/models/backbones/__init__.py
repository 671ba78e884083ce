"""What neither MMPretrain nor timm has."""

from .swin import SwinTransformer

__all__ = ['SwinTransformer']
