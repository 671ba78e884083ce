"""Distill on your own data, with or without labels, without writing a config.

    python tools/distill.py --teacher timm:swin_tiny_patch4_window7_224 --student timm:resnet18 --data photos
    python tools/distill.py --teacher mmpretrain:swin-tiny_16xb64_in1k --student timm:resnet18 --data photos.csv
    python tools/distill.py --teacher timm:vit_small_patch16_224 --student timm:resnet18 --data CIFAR100 \
        --data-root data/cifar100 --teacher-ckpt vit_s_cifar100.pth

    python tools/distill.py --teacher timm:vit_small_patch14_dinov2.lvd142m --student timm:resnet18 --data photos \
        --probe labeled_photos --finetune labeled_photos

The last example has images without labels, at any depth of the folder. Teacher and student have no head, and the
student learns the teacher's features. --probe measures them on a few labeled images. --finetune trains the result on
labeled images, and the same student from scratch for comparison.

With --baseline the student is also trained alone with the same recipe, which shows what the teacher adds.

The tool writes WORK_DIR/distill.py, the complete config that it runs, to keep and to edit. It checks the config, fits
the teacher to the classes (WORK_DIR/teacher.py), trains, evaluates, exports the student, prints a table and draws
curves. Afterwards

    python tools/train.py WORK_DIR/distill.py

repeats the same training. --resume resumes an interrupted run: finished parts are not trained again, and the rest
resumes from its last checkpoint. Without a network connection it starts with random weights, and says so.
"""

from __future__ import annotations

import argparse
import functools
import gc
import os
import runpy
import sys
from pathlib import Path

# Otherwise importing MMEngine starts CUDA, and it is too late to choose a device.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')

import mmengine
import torch
from mmengine.device import utils as mmengine_device
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, DefaultScope

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.analysis.describe import describe
from tas_mm.analysis.logs import METRIC
from tas_mm.analysis.reports import report_accuracy, report_features
from tas_mm.analysis.tables import table
from tas_mm.analysis.trial import build_model, synthetic_batch, train_step
from tas_mm.config import pipeline_size, read_config
from tas_mm.engine.launch import at_least
from tas_mm.models import TAS
from tas_mm.recipes.data import OwnData, find_data, find_images, has_classes
from tas_mm.recipes.parts import alone_parts, distill_parts, fine_tuning_parts, teacher_parts, unlabeled_parts
from tas_mm.recipes.recipe import Recipe
from tas_mm.recipes.sources import Network, find_network, why_no_weights
from tas_mm.recipes.weights import own_weights
from tas_mm.recipes.writer import write_same_config as write

DATA_HELP = """a folder with train/CLASS/*.jpg and val/CLASS/*.jpg; a folder of images without labels, at any depth; a
table *.csv with the header path,label,split (or path,label and --val-csv); or the name of a data set of MMPretrain,
such as CIFAR100, with --data-root"""
LABELED_HELP = 'a folder with train/CLASS/*.jpg and val/CLASS/*.jpg, or a table *.csv'

LARGEST = 224
"""Largest height and width of images without labels, unless --size sets another one."""

print = functools.partial(print, flush=True)  # between the logs of training


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    network = 'timm:NAME, mmpretrain:NAME, hf:NAME, or the path of a config'
    parser.add_argument('--teacher', required=True, help=network)
    parser.add_argument('--student', required=True, help=f'{network}; starts with random weights')
    parser.add_argument('--data', required=True, help=DATA_HELP)
    parser.add_argument('--data-root', help='folder of the images of a table, or of the files of a named data set')
    parser.add_argument('--val-csv', help='table for validation, if --data is a table without a column split')
    parser.add_argument(
        '--size', type=at_least(8), help='height and width of the images (default: what the networks declare)'
    )
    parser.add_argument('--epochs', type=at_least(1), default=100, help='of the distillation (default: 100)')
    parser.add_argument('--batch-size', type=at_least(2), help='default: 128 on a GPU, 32 on a CPU')
    parser.add_argument('--device', help='cpu, cuda, or one GPU such as cuda:1 (default: a GPU if there is one)')
    parser.add_argument(
        '--workers', type=at_least(0), help='processes that load data (default: by the number of cores)'
    )
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/TEACHER_to_STUDENT')
    parser.add_argument(
        '--teacher-ckpt', help="weights of the teacher; if they are for other classes, all but the head's are used"
    )
    parser.add_argument(
        '--teacher-epochs',
        type=at_least(0),
        help='epochs to fit the teacher to the classes (default: 10 for its head, or, if it starts with random '
        'weights, as many as --epochs; 0 for none where it has a head that fits)',
    )
    parser.add_argument(
        '--probe', help=f'images without labels: measure k-NN and a linear probe on labeled ones, {LABELED_HELP}'
    )
    parser.add_argument(
        '--finetune', help=f'images without labels: then train the student on labeled ones, {LABELED_HELP}'
    )
    parser.add_argument('--finetune-epochs', type=at_least(1), default=30, help='of the fine-tuning (default: 30)')
    parser.add_argument(
        '--baseline', action='store_true', help='also train the student alone, by the same recipe, and compare'
    )
    parser.add_argument('--offline', action='store_true', help='fetch no weights')
    parser.add_argument('--seed', type=int, default=0, help='default: 0')
    parser.add_argument('--resume', action='store_true', help='resume an interrupted run, with the same options')
    parser.add_argument('--dry-run', action='store_true', help='write and check the configs, train nothing')
    return parser.parse_args(argv)


def choose_device(device: str | None) -> str:
    """Make MMEngine use the requested device. By default it takes the first GPU, if there is one."""
    kind, _, number = (device or '').partition(':')
    if kind not in ('', 'cpu', 'cuda') or (number and not (kind == 'cuda' and number.isdigit())):
        raise ValueError(f'--device {device}: expected cpu, cuda or cuda:N')
    if kind == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
        mmengine_device.DEVICE = 'cpu'  # set when MMEngine was imported
    elif number:
        os.environ['CUDA_VISIBLE_DEVICES'] = number
    if kind == 'cuda' and not torch.cuda.is_available():
        raise ValueError(f'--device {device}: torch does not find such a GPU. Expected cpu')
    return 'cuda' if kind != 'cpu' and torch.cuda.is_available() else 'cpu'


def loudly(text: str) -> None:
    """Print a text that nobody should overlook."""
    print('\n'.join(('', '!' * 106, *(f'!! {line}' for line in text.splitlines()), '!' * 106, '')))


def random_features(why: str) -> str:
    """Return the warning for a teacher without a head and without trained weights."""
    return (
        f'THE TEACHER HAS RANDOM WEIGHTS: {why}.\n'
        'Its features say little about your images, and without labels nothing can train it. This run tries the data\n'
        'and the settings. For a real teacher name a file of weights with --teacher-ckpt, or run this with a network\n'
        'connection.'
    )


def random_teacher(why: str) -> str:
    """Return the warning for a teacher that starts with random weights."""
    return (
        f'THE TEACHER STARTS WITH RANDOM WEIGHTS: {why}.\n'
        'So all of it is trained on your images first. It then knows no more than they teach it, and the student\n'
        'gains little from it. For a real teacher name a file of weights with --teacher-ckpt, or run this with a\n'
        'network connection.'
    )


def plan_teacher(args: argparse.Namespace, teacher: Network, classes: int, work_dir: Path) -> tuple[dict, bool, int]:
    """Return the options that load the teacher's weights, whether only its head is trained, and for how many epochs."""
    if args.teacher_ckpt:
        weights, fits = own_weights(teacher, args.teacher_ckpt)
        named = str(work_dir / 'teacher_weights.pth')  # of any form of file, what a plain config can load
        torch.save(weights, named)
        start = dict(init_cfg=dict(type='Pretrained', checkpoint=named))
    else:
        why = '--offline was given' if args.offline else why_no_weights(teacher)
        if why:
            loudly(random_teacher(why))
            if args.teacher_epochs == 0:
                raise ValueError('--teacher-epochs 0: a teacher with random weights needs training. Expected 1 or more')
            return {}, False, args.teacher_epochs or args.epochs
        fits, start = teacher.published.num_classes == classes, teacher.published.weights
        if fits:
            print(f'The data has {classes} classes, as many as the weights of {teacher.name} know: its head is kept.')
    if args.teacher_epochs == 0 and not fits:
        raise ValueError(
            f'--teacher-epochs 0: the head of {teacher.name} does not know these classes. Expected 1 or more'
        )
    return start, True, (0 if fits else 10) if args.teacher_epochs is None else args.teacher_epochs


def check(config: Path) -> None:
    """Build the model of a config, take one step with it, and load one image.

    Raises:
        Exception: Whatever prevents the run.
    """
    cfg = read_config(str(config))
    MMLogger.get_current_instance().setLevel('ERROR')  # no warnings about weights, which do not matter here
    model = build_model(cfg)
    if isinstance(model, TAS):
        for title, (header, rows) in describe(model, cfg).items():
            print(f'{title}\n{table(header, rows)}\n')
    train_step(model, synthetic_batch(model, 2, pipeline_size(cfg)), strict=True)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        image = DATASETS.build(cfg.train_dataloader.dataset)[0]['inputs']
    print(f'{config}: the model builds and takes a step; the first image is {tuple(image.shape)}')


def tool(name: str, *options: object) -> None:
    """Run another tool as from the command line."""
    given = sys.argv
    sys.argv = [name, *map(str, options)]
    try:
        runpy.run_path(str(Path(__file__).with_name(name)), run_name='__main__')
    finally:
        sys.argv = given
        gc.collect()  # frees the model and its GPU memory


def prepare(args: argparse.Namespace) -> tuple[str, Path]:
    """Choose the device and create the work folder."""
    device = choose_device(args.device)
    work_dir = args.work_dir or Path('work_dirs') / '_to_'.join(
        name.partition(':')[2] or Path(name).stem for name in (args.teacher, args.student)
    )
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f'--work-dir {work_dir}: {error.strerror}. Expected a folder, or a place where one can be made'
        ) from error
    return device, work_dir


def recipe_options(args: argparse.Namespace, data: OwnData, size: int, device: str) -> dict:
    """Return the options of a recipe that do not depend on what is trained."""
    return dict(
        batch_size=min(args.batch_size or (128 if device == 'cuda' else 32), data.sizes[0]),
        size=size,
        workers=min(8, (os.cpu_count() or 1) - 1) if args.workers is None else args.workers,
        seed=args.seed,
        amp=device == 'cuda',
    )


def distill(args: argparse.Namespace) -> None:
    """Distill with labels, from start to end."""
    for option in ('probe', 'finetune'):
        if getattr(args, option):
            raise ValueError(f'--{option}: the images of --data have labels already. Leave it out')
    device, work_dir = prepare(args)
    data = find_data(args.data, args.data_root, args.val_csv, work_dir)
    classes = len(data.classes)
    teacher = find_network(args.teacher, classes, args.size, '--teacher')
    size = args.size or teacher.view.input_size[0]
    student = find_network(args.student, classes, size, '--student')
    options = recipe_options(args, data, size, device)
    print(
        f'{data.sizes[0]} training and {data.sizes[1]} validation images of {classes} classes, {size} pixels, {device}'
    )

    start, head_only, teacher_epochs = plan_teacher(args, teacher, classes, work_dir)
    configs = []
    if teacher_epochs:
        parts = teacher_parts(
            teacher, start, data, Recipe(epochs=teacher_epochs, **options), head_only, work_dir / 'teacher'
        )
        title = f'{args.teacher} fitted to {args.data}, to be a teacher. Run it with tools/train.py.'
        configs.append(write(work_dir / 'teacher.py', parts, title, args.resume))
        start = dict(teacher_ckpt=str(work_dir / 'teacher' / f'epoch_{teacher_epochs}.pth'))
    elif args.teacher_ckpt:
        start = dict(teacher_ckpt=args.teacher_ckpt)
    parts = distill_parts(teacher, start, student, data, Recipe(epochs=args.epochs, **options), work_dir / 'distill')
    title = f'{args.teacher} distilled into {args.student} on {args.data}. Run it with tools/train.py.'
    configs.append(write(work_dir / 'distill.py', parts, title, args.resume))
    if args.baseline:
        title = f'{args.student} alone on {args.data}, to compare with distill.py. Run it with tools/train.py.'
        parts = alone_parts(parts, work_dir / 'alone')
        configs.insert(-1, write(work_dir / 'alone.py', parts, title, args.resume))
    check_all(configs)
    if args.dry_run:
        return
    train(configs, args.resume)
    exported = export_and_test(work_dir, configs[-1])
    runs = ['teacher'] if teacher_epochs else []
    print(f'\n{report_accuracy(work_dir, exported, runs, args.baseline)}\nConfig to keep and edit: {configs[-1]}')
    if teacher_epochs and not head_only:
        loudly(
            'The teacher had random weights at the start. Take these numbers as a trial of the data and the settings.'
        )


def export_and_test(work_dir: Path, config: Path) -> float:
    """Export the student, and return its accuracy in percent."""
    weights = work_dir / 'student.pth'
    tool('export_student.py', (work_dir / 'distill' / 'last_checkpoint').read_text().strip(), weights)
    quiet = ('--work-dir', work_dir / 'test', '--cfg-options', 'log_level=WARNING')
    tool('test.py', config, weights, '--out', work_dir / 'test.json', *quiet)
    return mmengine.load(work_dir / 'test.json')[METRIC]


def check_all(configs: list[Path]) -> None:
    """Check configs before anything is trained."""
    for config in configs:
        check(config)
    print(f'Written and checked: {" and ".join(map(str, configs))}')


def train(configs: list[Path], resume: bool) -> None:
    """Run training configs one after another."""
    for config in configs:
        print(f'\nTraining {config.stem}: {config}')
        tool('train.py', config, *(['--resume'] if resume else []))


def distill_features(args: argparse.Namespace) -> None:
    """Distill without labels, from start to end, with networks without a head."""
    if args.baseline or args.teacher_epochs:
        raise ValueError('--baseline, --teacher-epochs: they need labels, and the images of --data have none')
    device, work_dir = prepare(args)
    data = find_images(args.data, work_dir / 'images')
    teacher = find_network(args.teacher, 0, args.size, '--teacher')
    size = args.size or min(teacher.view.input_size[0], LARGEST)
    if teacher.view.input_size[0] != size:
        teacher = find_network(args.teacher, 0, size, '--teacher')
    student = find_network(args.student, 0, size, '--student')
    options = recipe_options(args, data, size, device)
    print(f'{data.sizes[0]} training and {data.sizes[1]} held-out images without labels, {size} pixels, {device}')
    start, why = dict(teacher_ckpt=args.teacher_ckpt) if args.teacher_ckpt else teacher.published.weights, None
    if not args.teacher_ckpt and (why := '--offline was given' if args.offline else why_no_weights(teacher)):
        loudly(random_features(why))
        start = {}
    probe = args.probe and find_data(args.probe, lists=work_dir / 'probe')
    parts = unlabeled_parts(
        teacher, start, student, data, probe, Recipe(epochs=args.epochs, **options), work_dir / 'distill'
    )
    title = f'{args.teacher} distilled into {args.student} on images without labels. Run it with tools/train.py.'
    config = write(work_dir / 'distill.py', parts, title, args.resume)
    tuned = write_fine_tuning(args, work_dir, size, device) if args.finetune else []
    check_all([config, *tuned])
    if args.dry_run:
        return
    train([config], args.resume)
    weights = work_dir / 'student.pth'
    tool('export_student.py', (work_dir / 'distill' / 'last_checkpoint').read_text().strip(), weights)
    train(tuned, args.resume)
    print(f'\n{report_features(work_dir, [each.stem for each in tuned])}\nConfig to keep and edit: {config}')
    if why:
        loudly(random_features(why))


def write_fine_tuning(args: argparse.Namespace, work_dir: Path, size: int, device: str) -> list[Path]:
    """Write the configs that train the distilled student, and the same one from scratch, on labeled images."""
    data = find_data(args.finetune, lists=work_dir / 'finetune_lists')
    student = find_network(args.student, len(data.classes), size, '--student')
    recipe = Recipe(epochs=args.finetune_epochs, **recipe_options(args, data, size, device))
    configs = []
    for name, weights in (('finetune', work_dir / 'student.pth'), ('scratch', None)):
        parts = fine_tuning_parts(student, data, recipe, weights, work_dir / name)
        origin = 'distilled without labels' if weights else 'from scratch'
        title = f'{args.student} {origin}, trained on {args.finetune}. Run it with tools/train.py.'
        configs.append(write(work_dir / f'{name}.py', parts, title, args.resume))
    return configs


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    try:
        distill(args) if has_classes(args.data) else distill_features(args)
    except ValueError as error:
        raise SystemExit(f'tools/distill.py: {error}') from error


if __name__ == '__main__':
    main()
