"""Draw figures of a distillation.

    python tools/visualize.py cka CONFIG CHECKPOINT               # similarity of all stages, before and after
    python tools/visualize.py features CONFIG CHECKPOINT PHOTO... # where each stage responds
    python tools/visualize.py curves WORK_DIR...                  # losses and accuracies of one run or more
    python tools/visualize.py assistants CONFIG...                # parts of each assistant

Pictures go to --out. With --backend tensorboard, wandb or mlflow they also go to the experiment tracker, through
MMEngine's visualizer.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, set_random_seed
from torch import Tensor

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.analysis.features import collect_features
from tas_mm.analysis.figures.assistants import assistants_figure
from tas_mm.analysis.figures.canvas import BACKENDS, publish
from tas_mm.analysis.figures.curves import curves_figure
from tas_mm.analysis.figures.stages import cka_figure, features_figure, stage_names
from tas_mm.analysis.logs import METRIC, check_metric, read_run
from tas_mm.analysis.trial import build_model
from tas_mm.config import read_config, transforms_of
from tas_mm.engine.checkpoints import read_checkpoint
from tas_mm.models import TAS
from tas_mm.models.cka import CKA
from tas_mm.models.distillers import interface_of


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--out', type=Path, default=Path('work_dirs/pictures'), help='default: work_dirs/pictures')
    common.add_argument('--backend', nargs='+', default=[], choices=list(BACKENDS), help='send the pictures there too')
    run = argparse.ArgumentParser(add_help=False, parents=[common])
    run.add_argument('config', help='config of a distillation')
    run.add_argument('checkpoint', help='a checkpoint of its run')
    run.add_argument('--seed', type=int, default=0, help='of the student before training, and of the images drawn')
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pictures = parser.add_subparsers(dest='picture', required=True)
    cka = pictures.add_parser('cka', parents=[run], help='similarity of all stages, before and after')
    cka.add_argument('--images', type=int, default=512, help='number of validation images (default: 512)')
    cka.add_argument('--batch-size', type=int, default=64, help='at least 4 (default: 64)')
    features = pictures.add_parser('features', parents=[run], help='where each stage attends to')
    features.add_argument('photos', nargs='+', type=Path)
    curves = pictures.add_parser('curves', parents=[common], help='losses and accuracies')
    curves.add_argument('work_dirs', nargs='+')
    curves.add_argument('--metric', help=f'default: {METRIC}, or what a probe measures; those of probes are drawn too')
    assistants = pictures.add_parser('assistants', parents=[common], help='what each assistant is made of')
    assistants.add_argument('configs', nargs='+', help='configs of distillations')
    return parser.parse_args(argv)


def build(cfg: Config, seed: int) -> TAS:
    """Build the distillation as it is before training.

    Raises:
        ValueError: If the config is not a distillation.
    """
    set_random_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        model = cfg.model.to_dict()
        if 'data_preprocessor' in cfg:
            model.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
        algorithm = MODELS.build(model)
    if interface_of(algorithm).teacher_view is None:
        raise ValueError(
            f'model.type={cfg.model.type}. Expected a distillation from one teacher by a distiller of tas_mm'
        )
    algorithm.init_weights()
    return algorithm.to(get_device()).eval()


def load(algorithm: TAS, name: str) -> dict:
    """Load a checkpoint of the run, and return it.

    Raises:
        ValueError: If a weight is missing, as in a student's file.
    """
    checkpoint = read_checkpoint(name)
    missing = algorithm.load_state_dict(checkpoint.get('state_dict', checkpoint), strict=False).missing_keys
    if missing:
        raise ValueError(f'{name} lacks {len(missing)} weights, such as {missing[0]}; expected a checkpoint of the run')
    return checkpoint


def batches(cfg: Config, algorithm: TAS, images: int, size: int, seed: int) -> list[Tensor]:
    """Draw preprocessed validation images at random, in batches of one size."""
    if size < 4:
        raise ValueError(f'--batch-size {size}: expected a number of at least 4')
    loader = dict(
        cfg.val_dataloader,
        batch_size=size,
        drop_last=True,
        sampler=dict(type='DefaultSampler', shuffle=True, seed=seed),
        collate_fn=dict(type='default_collate'),
    )
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        loader = Runner.build_dataloader(loader, seed=seed)
    count = min(max(1, images // size), len(loader))
    if not count:
        raise ValueError(f'--batch-size {size}: there are only {len(loader.dataset)} validation images')
    return [algorithm.data_preprocessor(batch, False)['inputs'] for _, batch in zip(range(count), loader)]


def draw_cka(args: argparse.Namespace) -> dict:
    """Draw the CKA of all stages before and after training."""
    cfg = read_config(args.config)
    algorithm = build(cfg, args.seed)
    images = batches(cfg, algorithm, args.images, args.batch_size, args.seed)
    panels = {}
    for moment in ('before training', 'after training'):
        if moment.startswith('after'):
            load(algorithm, args.checkpoint)
        cka = CKA()
        for batch in images:
            features = collect_features(algorithm, batch)
            cka.add([y for each in features.values() for y in each.maps.values()])
        panels[moment] = cka.value()
    return dict(cka=cka_figure(panels, stage_names(features)))


def read_photo(photo: Path, cfg: Config, channels: int) -> Tensor:
    """Read a photo ``(C, H, W)`` of 0 to 255 through the validation pipeline."""
    if not photo.is_file():
        raise ValueError(f'{photo} is not a file. Expected a photo')
    order = 'bgr' if cfg.get('data_preprocessor', {}).get('to_rgb') else 'rgb'
    image = mmcv.imread(str(photo), 'grayscale' if channels == 1 else 'color', order)
    data = dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], gt_label=0)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        return Compose(transforms_of(cfg, 'val_dataloader'))(data)['inputs']


def draw_features(args: argparse.Namespace) -> dict:
    """Draw one figure per photo."""
    cfg = read_config(args.config)
    algorithm = build(cfg, args.seed)
    classes = load(algorithm, args.checkpoint).get('meta', {}).get('dataset_meta', {}).get('classes')
    view, assistant = interface_of(algorithm).student_view, interface_of(algorithm).assistant
    figures = {}
    for photo in args.photos:
        image = read_photo(photo, cfg, view.in_channels)
        inputs = algorithm.data_preprocessor(dict(inputs=image[None].to(get_device())), False)['inputs']
        shown = image.permute(1, 2, 0).numpy().astype(np.uint8)
        if cfg.get('data_preprocessor', {}).get('to_rgb'):
            shown = shown[..., ::-1]
        shown = np.broadcast_to(shown, (*shown.shape[:2], 3))
        early = assistant.early_role if assistant is not None else ''
        figures[f'features_{photo.stem}'] = features_figure(shown, collect_features(algorithm, inputs), early, classes)
    return figures


def draw_curves(args: argparse.Namespace) -> dict:
    """Draw losses, accuracies and metrics of probes of some runs.

    Raises:
        ValueError: If the runs do not have the metric.
    """
    runs = [read_run(work_dir) for work_dir in args.work_dirs]
    if args.metric and any(run.validations for run in runs):  # without validations, only losses are drawn
        check_metric(runs, args.metric)
    return dict(curves=curves_figure(runs, args.metric))


def draw_assistants(args: argparse.Namespace) -> dict:
    """Draw the assistants of configs, with random weights."""
    return dict(assistants=assistants_figure({Path(c).stem: build_model(read_config(c)) for c in args.configs}))


DRAWINGS = dict(cka=draw_cka, features=draw_features, curves=draw_curves, assistants=draw_assistants)


def main(argv: list[str] | None = None) -> int:
    """Run the tool. Return the exit status."""
    args = parse_args(argv)
    MMLogger.get_current_instance().setLevel('WARNING')
    draw = DRAWINGS[args.picture]
    try:
        with torch.no_grad():
            figures = draw(args)
        files = publish(figures, args.out, args.backend)
    except (ValueError, FileNotFoundError) as error:
        print(f'tools/visualize.py {args.picture}: {error}', file=sys.stderr)
        return 1
    print(*files, sep='\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
