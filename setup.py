"""Metadata is in pyproject.toml; here is only what it cannot say.

OpenMMLab's tools look for a package's configs and scripts in ``<package>/.mim``. A wheel gets copies there, an editable
install links, so that edits count.
"""

import os
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py

MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """``build_py`` that also fills ``tas_mm/.mim``."""

    def run(self) -> None:
        super().run()
        editable = getattr(self, 'editable_mode', False)
        target = os.path.join('' if editable else self.build_lib, 'tas_mm', '.mim')
        shutil.rmtree(target, ignore_errors=True)
        os.makedirs(target)
        for name in filter(os.path.exists, MIM):
            destination = os.path.join(target, name)
            if editable:
                os.symlink(os.path.join('..', '..', name), destination)
            elif os.path.isdir(name):
                shutil.copytree(name, destination, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(name, destination)


setup(cmdclass={'build_py': BuildWithMim})
