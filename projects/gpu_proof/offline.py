"""Install a pack without a network, and run the parts: the one command on the GPU machine, again until all is finished.

    python3 projects/gpu_proof/offline.py build/gpu_proof --minutes 9.5

Whatever follows the pack goes to ``projects.gpu_proof.run``. The packages go into a virtual environment that sees those
of the Python that runs this, torch among them. The next call finds it and installs nothing.
"""

import argparse
import gzip
import os
import shutil
import site
import subprocess
import sys
import time
import venv
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ('torch', 'torchvision', 'timm', 'scipy', 'sklearn', 'joblib', 'matplotlib', 'rich', 'cv2', 'yaml')
"""Modules that are not packed."""


def parse_args(options: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--venv', type=Path, default=ROOT / 'build' / 'gpu_proof_venv', help='virtual environment')
    parser.add_argument('pack', type=Path, help='folder that make gpu-proof-pack has made')
    parser.add_argument('options', nargs=argparse.REMAINDER, help='options of projects.gpu_proof.run')
    return parser.parse_args(options)


def make_environment(folder: Path) -> Path:
    """Make a virtual environment that sees the packages of this Python, which may be in one itself; return its Python.

    Args:
        folder (Path): Its folder.
    """
    venv.EnvBuilder(system_site_packages=True, with_pip=False, symlinks=True).create(folder)
    python = folder / 'bin' / 'python'
    code = 'import sysconfig; print(sysconfig.get_path("purelib"))'
    own = subprocess.run([python, '-c', code], capture_output=True, text=True, check=True).stdout.strip()
    lines = [f'import site; site.addsitedir({path!r})\n' for path in site.getsitepackages()]
    Path(own, 'parent.pth').write_text(''.join(lines))
    return python


def install(python: Path, pack: Path) -> None:
    """Install the wheels and this repository, from files alone.

    Args:
        python (Path): Python of the environment.
        pack (Path): The pack.
    """
    pip = [sys.executable, '-m', 'pip', '--python', str(python), 'install', '--quiet', '--no-index', '--no-deps']
    environment = dict(os.environ, PIP_NO_INDEX='1', PIP_DISABLE_PIP_VERSION_CHECK='1')
    wheels = sorted(map(str, (pack / 'wheels').glob('*.whl')))
    subprocess.run([*pip, '--find-links', str(pack / 'wheels'), *wheels], check=True, env=environment)
    subprocess.run([*pip, '--no-build-isolation', '--editable', str(ROOT)], check=True, env=environment)


def place_data(pack: Path, data: Path) -> None:
    """Put photos and Fashion-MNIST where the configs look for them, unless they are there.

    Args:
        pack (Path): The pack.
        data (Path): Folder of the data.
    """
    if not (data / 'photos').exists():
        shutil.copytree(pack / 'data' / 'photos', data / 'photos')
    for path in (pack / 'data' / 'fashion_mnist').glob('*.gz'):
        target = data / 'fashion_mnist' / path.stem
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(gzip.decompress(path.read_bytes()))


def main() -> None:
    os.environ['GPU_PROOF_BEGAN'] = str(time.time())
    args = parse_args()
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise SystemExit(f'this Python lacks {", ".join(missing)}: {sys.executable}')
    finished = args.venv / 'installed'
    if not finished.exists():
        install(make_environment(args.venv), args.pack)
        finished.touch()
    place_data(args.pack, ROOT / 'data')
    os.chdir(ROOT)
    python = str(args.venv.resolve() / 'bin' / 'python')
    os.execv(python, [python, '-m', 'projects.gpu_proof.run', *args.options])


if __name__ == '__main__':
    main()
