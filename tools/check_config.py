"""Check configs or a pair before anything is downloaded or trained.

    python tools/check_config.py configs/tas/swin_to_r18.py [CONFIG ...]
    python tools/check_config.py configs/tas/swin_to_r18.py --method kd
    python tools/check_config.py --pair timm:vit_small_patch16_224 mmpretrain:resnet18_8xb32_in1k --classes 100
    python tools/check_config.py configs/tas/swin_to_r18.py --summary --markdown

Builds the model of each config without data, weights or network, and prints teacher, student and assistant: where they
are cut, parameters, multiply-adds, what trains, and the order of channels, mean and std of the images that each network
sees. Then it prints the recorders and losses that the distiller inferred, and takes one training step on synthetic
images of the config's real size: forward, backward, optimizer. The exit status is 1 if any config fails.

With --method the networks of the configs are checked with another method, as tools/train.py --method trains them.
With --pair the two arguments are networks, TEACHER and STUDENT: timm:NAME, mmpretrain:NAME or the path of a config.
With --summary it takes no step and prints only the costs, of convolutions and matrix products in one image's forward
pass.
"""

import argparse
import logging
import sys

from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.analysis.costs import HEADER, cost_rows
from tas_mm.analysis.describe import describe, loss_rows, recorder_rows
from tas_mm.analysis.tables import markdown, table
from tas_mm.analysis.trial import build_model, build_pair, synthetic_batch, train_step
from tas_mm.config import has_labels, pipeline_size, read_config
from tas_mm.engine.launch import at_least
from tas_mm.models import TAS
from tas_mm.models.distillers import interface_of
from tas_mm.recipes.methods import find_method, put_method
from tas_mm.recipes.sources import build_classifier


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='*', help='config files, or names of shipped ones (tas_mm::tas/...)')
    parser.add_argument('--pair', nargs=2, metavar=('TEACHER', 'STUDENT'), help='check two networks instead of configs')
    parser.add_argument('--method', metavar='NAME', help="check the configs' networks with another method")
    parser.add_argument('--batch-size', type=at_least(1), default=2, help='images in the synthetic batch (default: 2)')
    parser.add_argument('--explicit', action='store_true', help="print the distiller in MMRazor's explicit form")
    parser.add_argument('--summary', action='store_true', help='print the costs of each part alone')
    parser.add_argument('--markdown', action='store_true', help='with --summary: print a Markdown table')
    parser.add_argument('--classes', type=at_least(2), default=10, help='with --pair: number of classes (default: 10)')
    parser.add_argument(
        '--input-size',
        type=at_least(1),
        nargs='+',
        help='with --pair: height and width (default: what the networks declare, else 224)',
    )
    args = parser.parse_args()
    if bool(args.configs) == bool(args.pair):
        parser.error('name one CONFIG or more, or a --pair TEACHER STUDENT')
    for option in ('explicit', 'method'):
        if args.pair and getattr(args, option):
            parser.error(f'--{option} is for configs')
    return args


def config_model(name: str, method: str | None) -> tuple[BaseModel, Config]:
    """Build the model of a config, by another method if one is given."""
    cfg = read_config(name)
    if method:
        put_method(cfg, find_method(method))
    return build_model(cfg), cfg


def pair_model(args: argparse.Namespace) -> TAS:
    """Build the distillation of a pair."""
    size = None if args.input_size is None else (args.input_size[0], args.input_size[-1])
    teacher, student = (build_classifier(name, args.classes) for name in args.pair)
    return build_pair(teacher, student, size)


def distills_from_one(model: BaseModel) -> bool:
    """Return True for a distillation from one teacher by a distiller of tas_mm, which the tables describe."""
    return interface_of(model).teacher_view is not None


def summarize(name: str, model: BaseModel, as_markdown: bool) -> None:
    """Print the costs of a distillation.

    Raises:
        ValueError: If the model is something else.
    """
    if not distills_from_one(model):
        raise ValueError(
            f'model.type={type(model).__name__}. Expected a distillation from one teacher by tas_mm.TASDistiller or '
            'tas_mm.PairDistiller'
        )
    height, width = interface_of(model).student_view.input_size
    print(f'{name}, images of {height}x{width}\n')
    print((markdown if as_markdown else table)(HEADER, cost_rows(model)))


def print_tables(model: TAS, cfg: Config | None = None) -> None:
    """Print all tables of a pair."""
    for title, (header, rows) in describe(model, cfg).items():
        print(f'{title}\n{table(header, rows)}\n')


def check_config(name: str, args: argparse.Namespace) -> None:
    """Check one config. Raises an error that says what is wrong with it."""
    model, cfg = config_model(name, args.method)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper)
    if distills_from_one(model):
        print_tables(model, cfg)
        print(f'recorders\n{table(("side", "recorder", "type", "source"), recorder_rows(model))}\n')
        if args.explicit:
            kind = f'tas_mm.{type(model.distiller).__name__}'
            print(Config(dict(distiller=dict(type=kind, **model.distiller.razor_config()))).pretty_text)
    labeled = has_labels(cfg)
    if not labeled:
        print('train_dataloader: images without labels, so the step goes without them\n')
    batch = synthetic_batch(model, args.batch_size, pipeline_size(cfg), labeled)
    losses = train_step(model, batch, optimizer, strict=labeled)  # without labels a head gets no gradient
    rows = loss_rows(model, losses) if isinstance(model, TAS) else [(k, '', '', f'{v:.4f}') for k, v in losses.items()]
    print(f'one step\n{table(("loss", "type", "weight", "value"), rows)}')


def check_pair(args: argparse.Namespace) -> int:
    """Check or summarize a pair of networks. Return the exit status."""
    name = ' to '.join(args.pair)
    try:
        model = pair_model(args)
        if args.summary:
            summarize(name, model, args.markdown)
            return 0
        print_tables(model)
        logs = train_step(model, synthetic_batch(model, args.batch_size))
    except Exception as error:
        print(f'{name} cannot be distilled. {type(error).__name__}: {error}', file=sys.stderr)
        return 1
    print('one step\n' + table(('log', 'value'), [(log, f'{value:.4g}') for log, value in logs.items()]))
    print(f'\n{name}: fine')
    return 0


def check_configs(args: argparse.Namespace) -> int:
    """Check configs one after another. Return the exit status."""
    failed = []
    for i, name in enumerate(args.configs, 1):
        print(f'[{i}/{len(args.configs)}] {name}')
        try:
            check_config(name, args)
            print('ok\n', flush=True)
        except Exception as error:
            failed.append(name)
            print(f'FAILED: {type(error).__name__}: {error}\n', flush=True)
    if failed:
        print(f'{len(failed)} of {len(args.configs)} configs fail: {", ".join(failed)}')
    return 1 if failed else 0


def summarize_configs(args: argparse.Namespace) -> int:
    """Print the costs of configs. Return the exit status."""
    for name in args.configs:
        try:
            summarize(name, config_model(name, args.method)[0], args.markdown)
        except (ValueError, OSError) as error:
            print(f'tools/check_config.py: {name}: {error}', file=sys.stderr)
            return 1
    return 0


def main() -> int:
    """Run the tool. Return the exit status."""
    args = parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    logging.getLogger('timm').setLevel(logging.ERROR)
    if args.pair:
        return check_pair(args)
    return summarize_configs(args) if args.summary else check_configs(args)


if __name__ == '__main__':
    sys.exit(main())
