"""Test the student of a distillation run, or any MMPretrain config.

    python tools/test.py configs/tas/swin_to_r18.py work_dirs/swin_to_r18/epoch_100.pth

Of a distillation run only the student is built and loaded, as the plain MMPretrain model that it is: the teacher and
its weights are not needed.
"""

import argparse

import torch
from mmengine.config import ConfigDict
from mmengine.device import get_device
from mmengine.dist import master_only
from mmengine.fileio import dump
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.engine.launch import add_common_options, load_config
from tas_mm.student import student_model, student_weights


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_options(parser)
    parser.add_argument('checkpoint', help='checkpoint of the run')
    parser.add_argument('--out', help='file for the metrics (.json, .yaml or .pkl)')
    return parser.parse_args()


def student_state(checkpoint: str) -> dict:
    """The student's part of a checkpoint file, or all of it where there is no other."""
    loaded = CheckpointLoader.load_checkpoint(checkpoint, map_location='cpu', logger='current')
    return student_weights(loaded.get('state_dict', loaded))


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    cfg.model = ConfigDict(student_model(cfg))
    cfg.load_from, cfg.resume = None, False
    if args.amp:
        cfg.test_cfg = dict(cfg.get('test_cfg') or {}, fp16=True)
        torch.set_autocast_dtype(get_device(), getattr(torch, args.amp))  # the loop names none
    runner = Runner.from_cfg(cfg)
    model = runner.model.module if runner.distributed else runner.model
    model.load_state_dict(student_state(args.checkpoint))
    metrics = runner.test()
    if args.out:
        master_only(dump)(metrics, args.out)


if __name__ == '__main__':
    main()
