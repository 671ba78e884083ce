"""Backbones that neither MMPretrain nor timm has."""

from .conv_stem import ConvStem
from .swin import SwinTransformer

__all__ = ['ConvStem', 'SwinTransformer']
