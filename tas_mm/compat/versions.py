"""Lowest and highest version of each package that the tests ran with, wholly or in part. Other versions only warn."""

TRIED: dict[str, tuple[str, str]] = {
    'python': ('3.10', '3.13'),
    'torch': ('2.8.0', '2.15.0'),
    'torchvision': ('0.23.0', '0.29.2'),
    'mmengine': ('0.10.7', '0.10.12'),
    'mmcv': ('2.1.0', '2.3.6'),
    'mmpretrain': ('1.2.0', '1.3.6'),
    'mmrazor': ('1.0.0', '1.0.0'),
    'timm': ('1.0.9', '1.0.31'),
    'transformers': ('4.53.3', '5.24.0'),
}
"""Import name -> lowest, highest. For ``mmengine``, ``mmcv`` and ``mmpretrain`` the lowest is upstream's."""


def _numbers(version: str) -> tuple[int, ...]:
    release = version.partition('+')[0]
    return tuple(int(part) for part in release.split('.') if part.isdigit())


def untried(package: str, version: str) -> str:
    """Return a warning if a version is outside of the tested range, '' if it is inside or the package is not listed."""
    if package not in TRIED:
        return ''
    lowest, highest = TRIED[package]
    seen = _numbers(version)
    if seen < _numbers(lowest):
        return f'older than {lowest}, the oldest that tas_mm was tested with'
    # Compare only the digits given here: 3.13.5 counts as 3.13.
    if seen[: len(_numbers(highest))] > _numbers(highest):
        return f'newer than {highest}, the newest that tas_mm was tested with'
    return ''
