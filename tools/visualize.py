"""Draw what a distillation does.

    python tools/visualize.py cka CONFIG CHECKPOINT               # likeness of all stages, before and after
    python tools/visualize.py features CONFIG CHECKPOINT PHOTO... # where each stage attends to
    python tools/visualize.py curves WORK_DIR...                  # losses and accuracies of one run or more
    python tools/visualize.py assistants CONFIG...                # what each assistant is made of
    python tools/visualize.py detections CONFIG CHECKPOINT...     # what detectors of one config find and miss

Pictures go to --out; with --backend tensorboard, wandb or mlflow also to where experiments are tracked, through
MMEngine's visualizer.
"""

from __future__ import annotations

import argparse
import sys
from copy import deepcopy
from pathlib import Path

import mmcv
import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dataset import Compose, pseudo_collate
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, DefaultScope
from mmengine.runner import Runner, load_checkpoint, set_random_seed
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

import tas_mm  # noqa: F401  (adapts the stack and registers the components)
from tas_mm.cka import CKA
from tas_mm.config import read_config, without_weights
from tas_mm.inspect import build_model
from tas_mm.models import TAS
from tas_mm.sight import look
from tas_mm.visualization.assistants import assistants_figure
from tas_mm.visualization.curves import METRIC, curves_figure, read_run, refuse_unknown_metric
from tas_mm.visualization.detections import Judged, detections_figure, judge
from tas_mm.visualization.figures import BACKENDS, publish
from tas_mm.visualization.sight import cka_figure, features_figure, stage_names


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument('--out', type=Path, default=Path('work_dirs/pictures'), help='default: work_dirs/pictures')
    common.add_argument('--backend', nargs='+', default=[], choices=list(BACKENDS), help='send the pictures there too')
    run = argparse.ArgumentParser(add_help=False, parents=[common])
    run.add_argument('config', help='config of a distillation')
    run.add_argument('checkpoint', help='a checkpoint of its run')
    run.add_argument('--seed', type=int, default=0, help='of the student before training, and of the images drawn')
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    pictures = parser.add_subparsers(dest='picture', required=True)
    cka = pictures.add_parser('cka', parents=[run], help='likeness of all stages, before and after')
    cka.add_argument('--images', type=int, default=512, help='validation images to look at (default: 512)')
    cka.add_argument('--batch-size', type=int, default=64, help='at least 4 (default: 64)')
    features = pictures.add_parser('features', parents=[run], help='where each stage attends to')
    features.add_argument('photos', nargs='+', type=Path)
    curves = pictures.add_parser('curves', parents=[common], help='losses and accuracies')
    curves.add_argument('work_dirs', nargs='+')
    curves.add_argument('--metric', default=METRIC, help=f'default: {METRIC}')
    assistants = pictures.add_parser('assistants', parents=[common], help='what each assistant is made of')
    assistants.add_argument('configs', nargs='+', help='configs of distillations')
    detections = pictures.add_parser('detections', parents=[common], help='what detectors find and miss')
    detections.add_argument('config', help='config of the detectors')
    detections.add_argument('checkpoints', nargs='+', help='their checkpoints; a folder gives its detector its name')
    detections.add_argument('--images', type=int, default=3, help='those with the most boxes (default: 3)')
    detections.add_argument('--score', type=float, default=0.3, help='least score of a box (default: 0.3)')
    return parser.parse_args(argv)


def build(cfg: Config, seed: int) -> TAS:
    """The distillation before training.

    Raises:
        ValueError: If the config is of something else.
    """
    set_random_seed(seed)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        model = cfg.model.to_dict()
        if 'data_preprocessor' in cfg:
            model.setdefault('data_preprocessor', cfg.data_preprocessor.to_dict())
        algorithm = MODELS.build(model)
    if not hasattr(getattr(algorithm, 'distiller', None), 'teacher_view'):
        raise ValueError(
            f'model.type={cfg.model.type}, but valid is a distillation from one teacher by a distiller of tas_mm'
        )
    algorithm.init_weights()
    return algorithm.to(get_device()).eval()


def load(algorithm: TAS, name: str) -> dict:
    """Load a checkpoint of the run and return it.

    Raises:
        ValueError: If a weight is missing, as in the file of a student alone.
    """
    checkpoint = CheckpointLoader.load_checkpoint(name, map_location='cpu', logger='silent')
    missing = algorithm.load_state_dict(checkpoint.get('state_dict', checkpoint), strict=False).missing_keys
    if missing:
        raise ValueError(f'{name} lacks {len(missing)} weights, such as {missing[0]}; valid is a checkpoint of the run')
    return checkpoint


def batches(cfg: Config, algorithm: TAS, images: int, size: int, seed: int) -> list[Tensor]:
    """Validation images drawn at random, preprocessed, in batches of one size."""
    if size < 4:
        raise ValueError(f'--batch-size {size}: valid is a number of at least 4')
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
    """CKA of all stages before and after training."""
    cfg = read_config(args.config)
    algorithm = build(cfg, args.seed)
    images = batches(cfg, algorithm, args.images, args.batch_size, args.seed)
    panels = {}
    for moment in ('before training', 'after training'):
        if moment.startswith('after'):
            load(algorithm, args.checkpoint)
        cka = CKA()
        for batch in images:
            sights = look(algorithm, batch)
            cka.add([y for sight in sights.values() for y in sight.maps.values()])
        panels[moment] = cka.value()
    return dict(cka=cka_figure(panels, stage_names(sights)))


def read_photo(photo: Path, cfg: Config, channels: int) -> Tensor:
    """A photo as the validation pipeline gives it, ``(C, H, W)`` of 0 to 255."""
    dataset = cfg.val_dataloader.dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    if not photo.is_file():
        raise ValueError(f'{photo} is no file; valid are photos')
    order = 'bgr' if cfg.get('data_preprocessor', {}).get('to_rgb') else 'rgb'
    image = mmcv.imread(str(photo), 'grayscale' if channels == 1 else 'color', order)
    data = dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2], gt_label=0)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmpretrain')):
        return Compose([t for t in dataset.pipeline if not t['type'].startswith('Load')])(data)['inputs']


def draw_features(args: argparse.Namespace) -> dict:
    """One figure a photo."""
    cfg = read_config(args.config)
    algorithm = build(cfg, args.seed)
    classes = load(algorithm, args.checkpoint).get('meta', {}).get('dataset_meta', {}).get('classes')
    view = algorithm.distiller.student_view
    assistant = getattr(algorithm.distiller, 'assistant', None)
    figures = {}
    for photo in args.photos:
        image = read_photo(photo, cfg, view.in_channels)
        inputs = algorithm.data_preprocessor(dict(inputs=image[None].to(get_device())), False)['inputs']
        shown = image.permute(1, 2, 0).numpy().astype(np.uint8)
        if cfg.get('data_preprocessor', {}).get('to_rgb'):
            shown = shown[..., ::-1]
        shown = np.broadcast_to(shown, (*shown.shape[:2], 3))
        early = assistant.early_role if assistant is not None else ''
        figures[f'features_{photo.stem}'] = features_figure(shown, look(algorithm, inputs), early, classes)
    return figures


def draw_curves(args: argparse.Namespace) -> dict:
    """Losses and accuracies of runs.

    Raises:
        ValueError: If they were validated, but by another metric.
    """
    runs = [read_run(work_dir) for work_dir in args.work_dirs]
    if any(run.validations for run in runs):  # else there are the losses
        refuse_unknown_metric(runs, args.metric)
    return dict(curves=curves_figure(runs, args.metric))


def draw_assistants(args: argparse.Namespace) -> dict:
    """The assistants of configs, with random weights."""
    return dict(assistants=assistants_figure({Path(c).stem: build_model(read_config(c)) for c in args.configs}))


def draw_detections(args: argparse.Namespace) -> dict:
    """Boxes of detectors on those test images that have the most.

    Raises:
        ValueError: If the config is of no detector, or no image was asked for.
    """
    cfg = read_config(args.config)
    if cfg.get('default_scope') != 'mmdet':
        raise ValueError(f'{args.config} is no config of MMDetection')
    if args.images < 1:
        raise ValueError(f'--images {args.images}: valid is a number of at least 1')
    from mmdet.utils import register_all_modules

    register_all_modules(init_default_scope=False)
    with DefaultScope.overwrite_default_scope('mmdet'):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        model = MODELS.build(ConfigDict(without_weights(cfg.model.to_dict()))).to(get_device()).eval()
    counts = [len(dataset.get_data_info(i)['instances']) for i in range(len(dataset))]
    samples = [dataset[int(i)] for i in np.argsort(counts, kind='stable')[::-1][: args.images]]
    rows = {}
    for checkpoint in args.checkpoints:
        load_checkpoint(model, checkpoint, map_location='cpu', strict=True, logger='silent')
        path = Path(checkpoint).resolve()
        name = path.parent.name
        rows[f'{name}/{path.stem}' if name in rows else name] = [
            judged_of(model, sample, args.score) for sample in samples
        ]
    images = [mmcv.imread(sample['data_samples'].img_path, channel_order='rgb') for sample in samples]
    title = f'Boxes with a score of at least {args.score:g}; found: overlap of at least 0.5 with a true box'
    return dict(detections=detections_figure(images, rows, title))


def judged_of(model: nn.Module, sample: dict, score: float) -> Judged:
    """What a detector finds in an image; all boxes are of the image as it is in its file."""
    (result,) = model.test_step(pseudo_collate([deepcopy(sample)]))
    found = result.pred_instances[result.pred_instances.scores >= score].cpu().numpy()
    given = sample['data_samples'].gt_instances
    boxes, classes = given.bboxes.numpy(), given.labels.numpy()
    by_class = []
    for label in np.union1d(found.labels, classes):
        some = found[found.labels == label]
        by_class.append(judge(some.bboxes, some.scores, boxes[classes == label]))
    return Judged(*map(np.concatenate, zip(*by_class))) if by_class else judge(found.bboxes, found.scores, boxes)


DRAWINGS = dict(
    cka=draw_cka, features=draw_features, curves=draw_curves, assistants=draw_assistants, detections=draw_detections
)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    MMLogger.get_current_instance().setLevel('WARNING')
    draw = DRAWINGS[args.picture]
    try:
        with torch.no_grad():
            figures = draw(args)
        files = publish(figures, args.out, args.backend)
    except (ValueError, FileNotFoundError) as error:
        sys.stderr.write(f'tools/visualize.py {args.picture}: {error}\n')
        return 1
    sys.stdout.write(''.join(f'{file}\n' for file in files))
    return 0


if __name__ == '__main__':
    sys.exit(main())
