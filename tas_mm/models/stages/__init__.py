"""Stage views: cut any network into four stages and a head, and run the part after a cut."""

# ruff: noqa: F401
from ..heads import logits_of
from ..observer import Observer
from . import huggingface, mmpretrain, timm  # each registers its views or cuts
from .chain import Chain, ChainView
from .registry import FAMILIES, Cut, cut_blocks, register_cut, register_view, view_of
from .traced import TracedView
from .view import CLASS_TOKENS, LEVELS, READINGS, STAGES, Stage, StageView, TailError, image_channels
