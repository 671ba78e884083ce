"""Test the student of a distillation run, or any MMPretrain config.

    python tools/test.py configs/tas/swin_to_r18.py work_dirs/swin_to_r18/epoch_100.pth

For a distillation run, only the student is built and loaded, as a plain MMPretrain model. The teacher and its weights
are not needed.
"""

import argparse
from collections.abc import Mapping
from textwrap import shorten

import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.fileio import dump
from mmengine.fileio.handlers import file_handlers
from mmengine.model import BaseModel
from mmengine.runner import Runner

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.config import without_weights
from tas_mm.engine.checkpoints import check_readable, read_checkpoint, safe_loading
from tas_mm.engine.launch import add_common_options, leave_group, load_config
from tas_mm.engine.prerequisites import require
from tas_mm.models.utils import unwrap
from tas_mm.student import student_model, student_weights


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_options(parser)
    parser.add_argument('checkpoint', help='checkpoint of the run')
    parser.add_argument('--out', help='file for the metrics (.json, .yaml or .pkl)')
    args = parser.parse_args()
    if args.out and args.out.split('.')[-1] not in file_handlers:
        parser.error(f'--out {args.out}: expected one of {", ".join(f".{ending}" for ending in file_handlers)}')
    return args


def load_student(model: BaseModel, checkpoint: str) -> None:
    """Load the student's part of a checkpoint, or all of it if it belongs to a single network.

    Raises:
        ValueError: If the weights do not fit.
    """
    loaded = read_checkpoint(checkpoint, logger='current')
    if not isinstance(loaded, Mapping):
        raise ValueError(f'it contains a {type(loaded).__name__}. Expected weights by name')
    try:
        model.load_state_dict(student_weights(loaded.get('state_dict', loaded)))
    except RuntimeError as error:
        raise ValueError(shorten(str(error).partition('\n')[2], 200, placeholder=' ...')) from error


def main() -> None:
    """Run the tool."""
    args = parse_args()
    try:
        check_readable(args.checkpoint)
    except (OSError, ValueError) as error:
        raise SystemExit(f'tools/test.py: {error}') from error
    try:
        cfg = load_config(args)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'tools/test.py: {error}') from error
    cfg.model = ConfigDict(without_weights(student_model(cfg)))
    cfg.load_from, cfg.resume = None, False
    if args.amp:
        cfg.test_cfg = dict(cfg.get('test_cfg') or {}, fp16=True)
        torch.set_autocast_dtype(get_device(), getattr(torch, args.amp))  # the loop names none
    require(cfg, ('test_dataloader',), args.check_only)
    if args.check_only is not None:
        return
    runner = Runner.from_cfg(cfg)
    try:
        load_student(unwrap(runner.model), args.checkpoint)
    except ValueError as error:
        raise SystemExit(
            f'tools/test.py: {args.checkpoint} does not fit the student of {args.config}. Expected a checkpoint of it: '
            f'{error}'
        ) from error
    with safe_loading():
        metrics = runner.test()
    if args.out:
        master_only(dump)(metrics, args.out)
    leave_group()


if __name__ == '__main__':
    main()
