"""Collect what a GPU machine without a package registry lacks: wheels, photos and Fashion-MNIST, in one folder.

    python -m projects.gpu_proof.pack --out build/gpu_proof

The wheels are pure Python, so they fit any Python 3 there. torch, torchvision, timm, scipy, scikit-learn, matplotlib
and rich must be there; ``projects/gpu_proof/offline.py`` says which of them is missing.
"""

import argparse
import gzip
import os
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from projects.gpu_proof.photos import make_photos

WHEELS = (
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'mmrazor'),
    *('addict', 'termcolor', 'yapf', 'platformdirs', 'ordered-set', 'mat4py', 'modelindex', 'model-index'),
    *('importlib-metadata', 'zipp', 'einops'),
)
"""Distributions that are packed: the toolboxes, and what they need of pure Python."""


def parse_args(options: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('build/gpu_proof'), help='folder of the pack')
    parser.add_argument('--fashion', type=Path, default=Path('data/fashion_mnist'), help='made by make benchmark-data')
    return parser.parse_args(options)


def build_wheels(folder: Path) -> None:
    """Build or download the wheels, in the versions that are installed here.

    Args:
        folder (Path): Gets the wheels.

    Raises:
        RuntimeError: If one of them is for one platform only.
    """
    command = [sys.executable, '-m', 'pip', 'wheel', '--quiet', '--no-deps', '--wheel-dir', str(folder)]
    subprocess.run([*command, *map(_pinned, WHEELS)], check=True, env=dict(os.environ, MMCV_WITH_OPS='0'))
    if special := [path.name for path in folder.glob('*.whl') if not path.name.endswith('-none-any.whl')]:
        raise RuntimeError(f'not for every machine: {", ".join(special)}')


def _pinned(name: str) -> str:
    try:
        return f'{name}=={version(name)}'
    except PackageNotFoundError:
        return name


def compress(source: Path, folder: Path) -> None:
    """Compress the files of a folder, each into a file of its own; the same files give the same bytes.

    Args:
        source (Path): The folder.
        folder (Path): Gets a ``.gz`` of each file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob('*ubyte')):
        (folder / f'{path.name}.gz').write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def main(options: list[str] | None = None) -> None:
    args = parse_args(options)
    build_wheels(args.out / 'wheels')
    make_photos(args.out / 'data' / 'photos')
    compress(args.fashion, args.out / 'data' / 'fashion_mnist')
    if not any(args.fashion.glob('*ubyte')):
        print(f'{args.fashion}: no Fashion-MNIST, which the suite and the trained teachers need: make benchmark-data')
    for folder in ('wheels', 'data/photos', 'data/fashion_mnist'):
        files = [path for path in (args.out / folder).rglob('*') if path.is_file()]
        print(f'{args.out / folder}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB')
    print(f'There: python3 projects/gpu_proof/offline.py {args.out} --minutes 9.5')


if __name__ == '__main__':
    main()
