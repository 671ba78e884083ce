"""Distill one architecture of every family of both toolboxes, in all four roles, and write ``docs/coverage.md``.

timm: of each file under ``timm/models``, the registered classifier with the fewest parameters. MMPretrain: of each
backbone class among its image classification models, the model with the fewest parameters by its metafile. Each is
distilled from and to a small partner of the other kind, ResNet-18 or a narrow ViT, two images, random weights:

- early, late: stages 1 to 3, or stage 4 and head, of the assistant, forward and backward;
- teacher, student: the pair's own choice of parts, forward and backward.

*Late* also needs a tail that gives feature and logits of the whole network within 1e-5 relative.

Each architecture runs in a process of its own. Results are appended to ``coverage.jsonl`` at once, so that an
interrupted sweep continues where it stopped; the table is written from that file. What does not work in all four roles
is tried again every time; ``--only NAME`` tries families with NAME in their name again, and deleting the file all.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import time
from pathlib import Path
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel

from tas_mm.analysis.tables import markdown
from tas_mm.analysis.trial import build_pair, synthetic_batch, train_step
from tas_mm.models.stages import view_of
from tas_mm.recipes.sources import available, build_classifier

ROLES = ('early', 'late', 'teacher', 'student')
TOLERANCE = 1e-5
CLASSES = 10
LARGE = 256  # networks built for larger images are tried at 224 first


def timm_families() -> dict[str, list[str]]:
    """Return the classifiers of each file under timm/models, the one with the fewest parameters first."""
    import timm

    families = {}
    for module in timm.list_modules():
        sizes = {}
        for name in timm.list_models(module=module):
            with torch.device('meta'):
                model = timm.create_model(name, num_classes=CLASSES)
            if getattr(model, 'num_classes', 0) == CLASSES:
                sizes[name] = sum(p.numel() for p in model.parameters())
        if sizes:
            families[module] = [f'timm:{name}' for name in sorted(sizes, key=sizes.get)]
    return families


def mmpretrain_families() -> dict[str, list[str]]:
    """Return MMPretrain's classifiers with each backbone class, the one with the fewest parameters first."""
    from mmpretrain.apis.model import ModelHub

    families: dict[str, dict[str, float]] = {}
    for name in available('mmpretrain'):
        try:
            info = ModelHub.get(name)
        except Exception:  # a config that MMEngine cannot read is nobody's smallest
            continue
        backbone = info.config.model.get('backbone')
        if backbone:
            parameters = (info.metadata and info.metadata.parameters) or float('inf')
            families.setdefault(backbone.type, {})[f'mmpretrain:{name}'] = parameters
    return {family: sorted(sizes, key=sizes.get) for family, sizes in families.items()}


def partner(family: str, size: tuple[int, int]) -> BaseModel:
    """Build a small network of the other kind."""
    if family != 'cnn':
        return build_classifier('mmpretrain:resnet18_8xb32_in1k', CLASSES)
    from mmpretrain.registry import MODELS

    arch = dict(embed_dims=64, num_layers=4, num_heads=2, feedforward_channels=128)
    return MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='VisionTransformer', arch=arch, img_size=size, patch_size=16),
            head=dict(type='VisionTransformerClsHead', num_classes=CLASSES, in_channels=64),
            _scope_='mmpretrain',
        )
    )


def build(name: str) -> tuple[BaseModel, tuple[int, int]]:
    """Build a classifier; return it with its image size: its own, or 224 where that is large and 224 can be built."""
    source, _, model = name.partition(':')
    if source == 'mmpretrain':
        classifier = build_classifier(name, CLASSES)
        return classifier, view_of(classifier).input_size
    import timm

    size = timm.get_pretrained_cfg(model).input_size[-1]
    if size > LARGE:
        try:
            return build_classifier(name, CLASSES, img_size=224), (224, 224)
        except TypeError:
            size = 224 if not timm.get_pretrained_cfg(model).fixed_input_size else size
    return build_classifier(name, CLASSES), (size, size)


def check(name: str) -> dict[str, Any]:
    """Try all four roles of one architecture: ``roles`` has those that work, ``reason`` says why others do not."""
    torch.manual_seed(0)
    model, size = build(name)
    view = view_of(model, size)
    stages = [(stage.channels, *stage.grid) for stage in view.stages]
    result: dict[str, Any] = dict(family=view.family, size=size, stages=stages, roles=[])
    reasons = {}
    try:
        result['tail_error'] = view.check_tail(4, TOLERANCE)
    except ValueError as error:
        reasons['late'] = str(error)
    default = 'early' if view.family == 'cnn' else 'late'
    other = 'late' if default == 'early' else 'early'
    for role, part in (('teacher', default), ('student', default), ('student', other)):
        proves = (other,) if part == other else (role, default)
        other_role = 'student' if role == 'teacher' else 'teacher'
        pair = {role: build(name)[0], other_role: partner(view.family, size)}
        try:
            algorithm = build_pair(
                **pair, input_size=size, assistant=dict(early=role if part == 'early' else other_role)
            )
            train_step(algorithm, synthetic_batch(algorithm))
            result['roles'] += [p for p in proves if p not in reasons and p not in result['roles']]
        except Exception as error:
            for proven in proves:
                reasons.setdefault(proven, f'{type(error).__name__}: {error}')
    result['roles'].sort(key=ROLES.index)
    if reasons:
        result['reason'] = '; '.join(dict.fromkeys(reasons.values()))
    return result


def _worker(name: str, results: Any) -> None:
    try:
        results.put(check(name))
    except BaseException as error:
        results.put(dict(roles=[], reason=f'{type(error).__name__}: {error}'))


def isolated(name: str, timeout: float) -> dict[str, Any]:
    """Run :func:`check` in a process of its own, which may crash or hang."""
    context = multiprocessing.get_context('fork')  # so that nothing is imported again
    results = context.Queue()
    process = context.Process(target=_worker, args=(name, results))
    process.start()
    try:
        deadline = time.time() + timeout
        while process.is_alive() and results.empty() and time.time() < deadline:
            time.sleep(0.05)
        if not results.empty():
            return results.get()
        if process.is_alive():
            return dict(roles=[], reason=f'not done in {timeout:.0f} s')
        process.join()
        return dict(roles=[], reason=f'the process ended with exit code {process.exitcode}')
    finally:
        process.kill()
        process.join()


def sweep(out: Path, timeout: float, only: list[str] | None = None) -> None:
    """Check what ``coverage.jsonl`` has no full success for, or ``only`` some families, and write ``coverage.md``."""
    out.mkdir(parents=True, exist_ok=True)
    raw = out / 'coverage.jsonl'
    done = _read(raw)
    print('looking for the smallest classifier of every family', flush=True)
    families = {('timm', family): names[0] for family, names in timm_families().items()}
    families.update({('mmpretrain', family): names[0] for family, names in mmpretrain_families().items()})
    if only is None:
        wanted = [key for key in families if len(done.get(key, {}).get('roles', ())) < len(ROLES)]
    else:
        wanted = [key for key in families if any(word.lower() in key[1].lower() for word in only)]
    began = time.time()
    for i, key in enumerate(wanted):
        begun = time.time()
        result = dict(source=key[0], module=key[1], name=families[key], **isolated(families[key], timeout))
        done[key] = result
        with raw.open('a') as file:
            file.write(json.dumps(result) + '\n')
        passed = time.time() - began
        left = passed / (i + 1) * (len(wanted) - i - 1)
        print(
            f'[{i + 1}/{len(wanted)}] {result["name"]}: {", ".join(result["roles"]) or "none"} '
            f'({time.time() - begun:.0f} s, {left / 60:.0f} min left)',
            flush=True,
        )
    done = {key: done[key] for key in sorted(done)}
    raw.write_text(''.join(json.dumps(result) + '\n' for result in done.values()))
    (out / 'coverage.md').write_text(report(list(done.values())))


def _read(raw: Path) -> dict[tuple[str, str], dict]:
    """Read the results so far; of several for one family the last."""
    lines = raw.read_text().splitlines() if raw.exists() else []
    results = [json.loads(line) for line in lines]
    return {(result['source'], result['module']): result for result in results}


def report(results: list[dict]) -> str:
    """Return the table as Markdown, with the counts on top."""
    text = ['# What can be distilled', '']
    counts = {}
    for source in ('timm', 'mmpretrain'):
        mine = [result for result in results if result['source'] == source]
        counts[source] = sum(len(result['roles']) == 4 for result in mine), len(mine)
    (timm_works, timm_all), (mm_works, mm_all) = counts['timm'], counts['mmpretrain']
    share = f'{100 * timm_works / max(timm_all, 1):.0f} %'
    text.append(
        f'**{timm_works} of {timm_all} timm model families ({share}) and {mm_works} of {mm_all} MMPretrain backbones '
        'work in all four roles.**'
    )
    text += ['', *(line.strip() for line in __doc__.split('\n\nEach architecture')[0].split('\n')[2:])]
    text += ['', 'Written by `python -m tests.coverage`; raw results in `coverage.jsonl`.']
    header = ('family of models', 'smallest', 'kind', 'image', 'stage 3 and 4', *ROLES, 'reason if not')
    for source, title in (('timm', 'timm'), ('mmpretrain', 'MMPretrain')):
        rows = []
        for result in (r for r in results if r['source'] == source):
            stages = [f'{c} @ {h}x{w}' for c, h, w in result.get('stages', [])[2:]]
            rows.append(
                (
                    result['module'],
                    result['name'].partition(':')[2],
                    result.get('family', ''),
                    'x'.join(map(str, result.get('size', []))),
                    ', '.join(stages),
                    *('yes' if role in result['roles'] else 'no' for role in ROLES),
                    ' '.join(result.get('reason', '').split())[:400],
                )
            )
        text += ['', f'## {title}', '', markdown(header, rows)]
    return '\n'.join(text) + '\n'


def main() -> None:
    """Run the sweep."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--only', nargs='+', help='families with one of these in their name, again')
    parser.add_argument('--out', type=Path, default=Path('docs'), help='folder of coverage.md and coverage.jsonl')
    parser.add_argument('--timeout', type=float, default=300, help='seconds for one architecture')
    args = parser.parse_args()
    MMLogger.get_instance('mmengine', log_level='ERROR')
    logging.getLogger('timm').setLevel(logging.ERROR)
    sweep(args.out, args.timeout, args.only)


if __name__ == '__main__':
    main()
