"""Store results of parts as JSON lines, from which a later call knows what is finished."""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Line = dict[str, Any]
"""``part``, ``kind``, ``key`` (the fingerprint), ``state``, ``seconds``, ``rows`` or ``error``, and where it ran."""

OK, FAILED, UNFINISHED = 'ok', 'failed', 'unfinished'
"""States of a line. A part with another state than ``ok`` runs again, from where it can resume."""

PACKAGES = (
    *('torch', 'torchvision', 'triton', 'timm', 'numpy', 'tas_mm', 'mmrazor'),
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'mmengine', 'mmcv', 'mmcv-lite', 'mmpretrain'),
)
"""Distributions whose versions decide a result."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed."""
    found = dict(python=platform.python_version())
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device_name(device: str) -> str:
    """Return name, driver and memory of the device, without starting CUDA, which would forbid forking.

    Args:
        device (str): ``'cuda'`` or ``'cpu'``.

    Raises:
        RuntimeError: If nvidia-smi does not list a GPU.
    """
    if device == 'cpu':
        return f'{platform.machine()} CPU'
    command = ['nvidia-smi', '--query-gpu=name,driver_version,memory.total', '--format=csv,noheader']
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(
            f'--device {device}: no GPU was found: {error}. Use --device cpu --tiny to rehearse'
        ) from error
    name, driver, memory = answer[0].split(', ')
    return f'{name}, driver {driver}, {memory}'


def line_key(options: Mapping[str, Any], device: str, packages: Mapping[str, str]) -> str:
    """Fingerprint a part by its options, the device and the versions: 12 hex digits.

    Args:
        options (mapping): All that decides its result, such as the fingerprints of its configs.
        device (str): Result of :func:`device_name`.
        packages (mapping): Result of :func:`versions`.
    """
    text = json.dumps([options, device, dict(packages)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def read_lines(files: Iterable[Path]) -> dict[str, Line]:
    """Read the latest line of each fingerprint.

    A last line that was cut off by a kill is left out.

    Args:
        files (iterable): Files of JSON lines; those that do not exist are skipped.
    """
    found: dict[str, Line] = {}
    for text in (text for file in files if file.is_file() for text in file.read_text().splitlines()):
        try:
            line = json.loads(text)
        except json.JSONDecodeError:
            continue
        found.pop(line['key'], None)  # so that a repeated part moves to the end
        found[line['key']] = line
    return found


def append_line(file: Path, line: Line) -> None:
    """Add a line to a file, on a line of its own even after one that was cut off."""
    file.parent.mkdir(parents=True, exist_ok=True)
    cut_off = file.exists() and file.stat().st_size and not file.read_bytes().endswith(b'\n')
    with file.open('a') as stream:
        stream.write('\n' * bool(cut_off) + json.dumps(line) + '\n')
