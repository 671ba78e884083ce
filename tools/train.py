"""Train: a distillation run, or any MMPretrain config (a student alone, a teacher).

One process:   python tools/train.py configs/tas/swin_to_r18.py
Eight GPUs:    tools/dist_train.sh configs/tas/swin_to_r18.py 8
Other method:  python tools/train.py configs/tas/swin_to_r18.py --method kd
Student alone: python tools/train.py configs/tas/swin_to_r18.py --method alone
Is all here?   python tools/train.py configs/tas/swin_to_r18.py --check-only 8
Slurm:         GPUS=16 tools/slurm_train.sh PARTITION JOB configs/tas/swin_to_r18.py
"""

import argparse

from mmengine.runner import Runner

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.engine.checkpoints import check_readable, resume_from_latest
from tas_mm.engine.launch import add_common_options, leave_group, load_config, train, use_mixed_precision
from tas_mm.engine.prerequisites import require


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_options(parser)
    parser.add_argument(
        '--method',
        metavar='NAME',
        help="train the config's networks by another method, on the same data and recipe: a file of "
        'configs/_base_/distillers by name, such as kd or tas, a file of your own, or alone for the student alone',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        help='resume from this checkpoint; without a name, from the latest in the work folder',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    return parser.parse_args()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    try:
        cfg = load_config(args, args.method)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f'tools/train.py: {error}') from error
    if args.amp:
        use_mixed_precision(cfg, args.amp)
    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise SystemExit(f'--auto-scale-lr: {args.config} has no auto_scale_lr=dict(base_batch_size=...)')
        cfg.auto_scale_lr.enable = True
    if args.resume not in (None, 'auto'):
        try:
            check_readable(args.resume)
        except (OSError, ValueError) as error:
            raise SystemExit(f'--resume: {error}') from error
        cfg.resume, cfg.load_from = True, args.resume
    elif args.resume == 'auto' or (cfg.get('resume') and not cfg.get('load_from')):
        resume_from_latest(cfg, cfg.work_dir)
    require(cfg, processes=args.check_only)
    if args.check_only is None:
        train(Runner.from_cfg(cfg))
        leave_group()


if __name__ == '__main__':
    main()
