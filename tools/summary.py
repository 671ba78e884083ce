"""Summarise a distillation: what teacher, assistant and student cost, what they share, and what trains.

    python tools/summary.py configs/tas/swin_to_r18.py [--markdown]

Builds the model with random weights and needs no data. Multiply-adds and activations are those of one image's forward
pass, of convolutions and matrix products.
"""

import argparse
import sys

from mmengine.logging import MMLogger

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm import inspect
from tas_mm.config import read_config
from tas_mm.summary import HEADER, summary_rows


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file of a distillation, or the name of a shipped one (tas_mm::tas/...)')
    parser.add_argument('--markdown', action='store_true', help='print a Markdown table')
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    try:
        model = inspect.build_model(read_config(args.config))
    except (ValueError, OSError) as error:
        sys.stderr.write(f'tools/summary.py: {error}\n')
        return 1
    if not hasattr(getattr(model, 'distiller', None), 'teacher_view'):
        sys.stderr.write(
            f'{args.config}: model.type={type(model).__name__}, but valid is a distillation from one teacher by '
            'tas_mm.TASDistiller or tas_mm.PairDistiller\n'
        )
        return 1
    size = model.distiller.student_view.input_size
    sys.stdout.write(f'{args.config}, images of {size[0]}x{size[1]}\n\n')
    write = inspect.markdown if args.markdown else inspect.table
    sys.stdout.write(write(HEADER, summary_rows(model)) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
