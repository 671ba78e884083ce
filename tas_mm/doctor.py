"""Print a table of the stack: what was adapted, what is wrong and how to fix it (``python -m tas_mm.doctor``).

The exit status is 0 if tas_mm can run, else 1.
"""

from __future__ import annotations

import importlib
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from . import compat
from .compat.versions import untried


@dataclass(frozen=True)
class Dependency:
    """Import name and the distributions that provide it, the maintained one first."""

    module: str
    distributions: dict[str, str]  # distribution -> family
    remedy: str
    required: bool = True


EXTRA = "pip install 'tas_mm[mm]' (from a clone: pip install -e .[mm])"
DEPENDENCIES = (
    Dependency('torch', {'torch': ''}, 'install the torch build for your machine, see pytorch.org'),
    Dependency('torchvision', {'torchvision': ''}, 'install the torchvision that belongs to your torch'),
    Dependency('mmengine', {'onedl-mmengine': 'maintained fork', 'mmengine': 'upstream'}, EXTRA),
    Dependency(
        'mmcv', {'onedl-mmcv': 'maintained fork', 'mmcv': 'upstream', 'mmcv-lite': 'upstream, no operators'}, EXTRA
    ),
    Dependency('mmpretrain', {'onedl-mmpretrain': 'maintained fork', 'mmpretrain': 'upstream'}, EXTRA),
    Dependency('mmrazor', {'mmrazor': 'upstream'}, EXTRA),
    Dependency('joblib', {'joblib': ''}, 'pip install joblib (MMRazor imports it without declaring it)'),
    Dependency('scipy', {'scipy': ''}, 'pip install scipy (MMRazor imports it without declaring it)'),
    Dependency('timm', {'timm': ''}, 'pip install timm (for timm teachers and students)', required=False),
    Dependency(
        'transformers',
        {'transformers': ''},
        'pip install transformers (for teachers and students of Hugging Face)',
        required=False,
    ),
    Dependency(
        'mmdet',
        {'onedl-mmdetection': 'maintained fork', 'mmdet': 'upstream'},
        "pip install 'tas_mm[detection]', with mmcv's compiled operators (for detectors; see docs/detection.md)",
        required=False,
    ),
    Dependency('sklearn', {'scikit-learn': ''}, 'pip install scikit-learn (for the quickstart)', required=False),
    Dependency('matplotlib', {'matplotlib': ''}, 'pip install matplotlib (for pictures)', required=False),
)


@dataclass(frozen=True)
class Finding:
    """Row of the table."""

    name: str
    version: str
    family: str
    state: str
    remedy: str
    fatal: bool


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def examine(dependency: Dependency, load: Callable[[str], object] = importlib.import_module) -> Finding:
    """Examine a dependency: whether it is installed exactly once, can be imported, and was adapted.

    Args:
        dependency (Dependency): The dependency.
        load (callable): Imports a module. Defaults to ``importlib.import_module``.
    """
    found = {name: _version(name) for name in dependency.distributions if _version(name) is not None}
    name = dependency.module
    if not found:
        state = 'missing' if dependency.required else 'missing (optional)'
        return Finding(name, '-', '-', state, dependency.remedy, dependency.required)
    shown = ' and '.join(f'{v}' for v in found.values())
    family = ' and '.join(dependency.distributions[d] for d in found) or '-'
    if len(found) > 1:
        remedy = f'both {" and ".join(found)} provide it: uninstall both, then install one'
        return Finding(name, shown, family, 'installed twice', remedy, True)
    try:
        load(name)
    except BaseException as error:  # includes an assert or a SystemExit at import
        text = f'does not import: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ""}'
        return Finding(name, shown, family, text, dependency.remedy, dependency.required)
    adapted = [why for what, why in compat.ADAPTED.items() if what.split(' ')[0] == name]
    state = 'adapted: ' + '; '.join(adapted) if adapted else 'ok'
    warning = untried(name, shown)
    return Finding(name, shown, family, state, warning and f'{shown} is {warning}', False)


def own_components() -> Finding:
    """Check that tas_mm itself starts and registers its components."""
    try:
        importlib.import_module('tas_mm.models')
        importlib.import_module('tas_mm.engine')
        importlib.import_module('tas_mm.datasets')
    except BaseException as error:
        text = str(error).splitlines()[0] if str(error) else ''
        return Finding('tas_mm', _own_version(), '-', f'{type(error).__name__}: {text}', 'fix the rows above', True)
    if not (Path(__file__).parent / '.mim/configs').is_dir():
        remedy = 'install it: pip install tas_mm (from a clone: pip install -e .)'
        return Finding('tas_mm', _own_version(), '-', 'its configs are missing: it is not installed', remedy, False)
    return Finding('tas_mm', _own_version(), '-', 'ok', '', False)


def _own_version() -> str:
    from . import __version__

    return __version__


def main() -> int:
    """Print the table; return 0 if tas_mm can run, else 1."""
    findings = [examine(dependency) for dependency in DEPENDENCIES]
    findings.append(own_components())
    if warning := untried('python', platform.python_version()):
        print(f'Python {platform.python_version()} is {warning}')
    rows = [('package', 'version', 'family', 'state')]
    rows += [(f.name, f.version, f.family, f.state) for f in findings]
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    print(f'Python {platform.python_version()} on {platform.system()} {platform.machine()}{_device()}')
    for row in rows:
        print('  '.join(cell.ljust(width) for cell, width in zip(row, widths)) + '  ' + row[3])
    for finding in findings:
        if finding.remedy:
            print(f'-> {finding.name}: {finding.remedy}')
    fatal = [finding.name for finding in findings if finding.fatal]
    print('tas_mm cannot run: ' + ', '.join(fatal) if fatal else 'tas_mm can run.')
    return 1 if fatal else 0


def _device() -> str:
    try:
        import torch
    except Exception:
        return ''
    return f', GPU: {torch.cuda.get_device_name()}' if torch.cuda.is_available() else ', no GPU'


if __name__ == '__main__':
    sys.exit(main())
