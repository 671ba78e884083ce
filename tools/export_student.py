"""Export the student of a distillation, so that it runs without tas_mm.

    python tools/export_student.py work_dirs/swin_to_r18/epoch_100.pth r18.pth
    python tools/export_student.py work_dirs/swin_to_r18/epoch_100.pth r18.onnx --to onnx
    python tools/export_student.py work_dirs/swin_to_r18/epoch_100.pth r18.pt2 --to export
    python tools/export_student.py work_dirs/dino_to_r18/epoch_100.pth r18.onnx --to onnx --projection

CKPT is a checkpoint of TAS or of a plain MMRazor SingleTeacherDistill run, a student's file, or a checkpoint of a
network that was trained alone. The exported weights are those that a test would use: the average if the run has one
(EMA). A student without a head gives its feature.
"""

import argparse
import os
from pickle import UnpicklingError

from mmengine.config import Config
from mmengine.logging import MMLogger

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.engine.checkpoints import atomic_write, check_readable, read_checkpoint
from tas_mm.student import read_student, warn_of_components
from tas_mm.student.embedding import read_projection
from tas_mm.student.export import FORMS, export


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('checkpoint', metavar='CKPT')
    parser.add_argument('out', metavar='OUT', help='file to write')
    parser.add_argument(
        '--to',
        choices=FORMS,
        default='mmpretrain',
        help='form of the file (default: mmpretrain); torchscript is deprecated since torch 2.11, take export',
    )
    parser.add_argument(
        '--projection',
        nargs='?',
        const='',
        metavar='LOSS',
        help="graphs only: output the embedding in the teacher's space, by the projection that a loss between "
        'features has learned (default: loss_ts_nce, or the only one)',
    )
    parser.add_argument('--config', help='config of the run, if not the one in the checkpoint')
    parser.add_argument('--input-size', type=int, nargs='+', help='height and width (default: as in the test pipeline)')
    return parser.parse_args()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    MMLogger.get_instance('mmengine', log_level='WARNING')
    size = None if args.input_size is None else (args.input_size[0], args.input_size[-1])
    try:
        if os.path.exists(args.out) and (os.path.isdir(args.out) or os.path.samefile(args.checkpoint, args.out)):
            raise ValueError(f'it cannot be written to {args.out!r}, which is a folder or the checkpoint itself')
        check_readable(args.checkpoint)
        checkpoint = read_student(args.checkpoint, args.config)
        trained = (None, None)
        if args.projection is not None:
            trained = read_projection(read_checkpoint(args.checkpoint), args.projection)
        data, difference = export(checkpoint, args.to, size, *trained)
        atomic_write(data, args.out)
    except (OSError, ValueError, ImportError, UnpicklingError) as error:
        raise SystemExit(
            f'tools/export_student.py: {args.checkpoint} was not exported to {args.to}: {error}'
        ) from error
    if args.to in ('mmpretrain', 'backbone'):
        warn_of_components(Config.fromstring(checkpoint['meta']['cfg'], '.py'), args.out)
    print(f'{args.out}: {len(data) / 1e6:.2f} MB, output within {difference:.1e} of the student in {args.checkpoint}')


if __name__ == '__main__':
    main()
