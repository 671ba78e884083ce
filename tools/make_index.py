"""Write model-index.yml and a metafile.yml for every folder of configs, in OpenMMLab's format.

    python tools/make_index.py            # builds every distillation, to describe its assistant: takes minutes
    python tools/make_index.py --check    # writes nothing; the exit status is 1 if a file is not up to date

Names of teacher and student, data set and the paper's accuracy are read from the first lines of a config. What we
measured is read from the raw lines of docs/benchmark.
"""

import argparse
import json
import re
import sys
from pathlib import Path
from statistics import fmean

import yaml
from mmengine.logging import MMLogger

import tas_mm  # noqa: F401  (makes tas_mm:: a base)
from tas_mm.analysis.trial import build_model
from tas_mm.config import read_config
from tas_mm.models.distillers import interface_of

ROOT = Path(__file__).resolve().parents[1]
PAPER = dict(
    Title='TAS: Distilling Arbitrary Teacher and Student via a Hybrid Assistant', URL='https://arxiv.org/abs/2410.12342'
)
COLLECTIONS = {  # folder -> its collection, the page that describes it, its task
    'tas': ('TAS', 'README.md', 'Image Classification'),
    'baselines': ('Baselines of TAS', 'docs/baselines.md', 'Image Classification'),
    'benchmark': ('Benchmark of TAS', 'docs/benchmark.md', 'Image Classification'),
    'teachers': ('Teachers of TAS', 'README.md', 'Image Classification'),
    'quickstart': ('Quickstart of TAS', 'README.md', 'Image Classification'),
    'detection': ('Detectors on students of TAS', 'docs/detection.md', 'Object Detection'),
    'segmentation': ('Segmentors on students of TAS', 'docs/detection.md', 'Semantic Segmentation'),
}
DATA = {  # how a config names it -> how the format does
    'ImageNet-1K': 'ImageNet-1k',
    'CIFAR-100': 'CIFAR-100',
    'Fashion-MNIST': 'Fashion-MNIST',
    'digits': 'scikit-learn digits',
    'COCO': 'COCO',
    'ADE20K': 'ADE20K',
}


def assistant(config: Path) -> str | None:
    """Describe the assistant of a classifier, or return None if there is none."""
    cfg = read_config(str(config))
    if cfg.model.get('type') != 'tas_mm.TAS' or cfg.model.distiller.type != 'tas_mm.TASDistiller':
        return None
    hybrid = interface_of(build_model(cfg)).assistant
    early = f'{stages(1, hybrid.early_stages)} of the {hybrid.early_role}'
    late = f'the head of the {hybrid.late_role}'
    if hybrid.late_stages:
        late = f'{stages(hybrid.start, 4)} and {late}'
    return f'{early}, {type(hybrid.projector).__name__}, {late}'


def stages(first: int, last: int) -> str:
    """Describe a range of stages."""
    return f'stages {first} to {last}' if first < last else f'stage {first}'


def measured(stem: str) -> dict | None:
    """Return the student's accuracy in the benchmark, as a mean over seeds, if the pair is part of it."""
    lines = (ROOT / 'docs/benchmark/cpu.jsonl').read_text().splitlines()
    wanted = ('labels_1000', stem, 'tas')
    rows = [row for row in map(json.loads, lines) if (row['setting'], row['pair'], row['method']) == wanted]
    if not rows:
        return None
    return dict(accuracy=round(fmean(row['metrics']['accuracy/top1'] for row in rows), 2), seeds=len(rows))


def entry(config: Path) -> dict:
    """Return the entry of one model in a metafile."""
    folder, path = config.relative_to(ROOT / 'configs').parts[0], str(config.relative_to(ROOT))
    collection, _, task = COLLECTIONS[folder]
    stem = '_'.join(config.relative_to(ROOT / 'configs' / folder).with_suffix('').parts)
    text = config.read_text().split('"""')[1]
    if config.stem.endswith('explicit'):  # its text refers to another config
        text = re.search(r'configs/tas/\w+\.py', text)[0]
        text = (ROOT / text).read_text().split('"""')[1]
    metadata = dict(Description=text.splitlines()[0].strip())
    if found := re.search(
        r'(\S+)(?: teacher)? to (?:the )?(\S+)(?: student)? on |(\S+) teacher to (\S+) student', text
    ):
        metadata['Teacher'], metadata['Student'] = [name for name in found.groups() if name]
    if task == 'Image Classification' and (made := assistant(config)):
        metadata['Assistant'] = made
    default = 'Fashion-MNIST' if folder == 'benchmark' else 'digits'
    data = DATA[next((name for name in DATA if name in text), default)]
    metrics = {}
    if quoted := re.search(r'arXiv 2410\.12342: (\d\d\.\d\d) top-1', text):
        metrics = {'Top 1 Accuracy': float(quoted[1])}
        metadata['Source of Results'] = 'the paper, quoted (arXiv 2410.12342); not measured here'
    elif folder == 'benchmark' and (mean := measured(stem)):
        metrics = {'Top 1 Accuracy': mean['accuracy']}
        metadata['Source of Results'] = f'measured here, mean of {mean["seeds"]} seeds, 1,000 labels: docs/benchmark.md'
    return {
        'Name': f'{folder}_{stem}',
        'In Collection': collection,
        'Config': path,
        'Metadata': metadata,
        'Results': [dict(Task=task, Dataset=data, Metrics=metrics)],
    }


def index() -> dict[Path, str]:
    """Return every file of the index with its text."""
    files = {}
    folders = {path.name for path in (ROOT / 'configs').iterdir() if path.is_dir()}
    if missing := folders - {*COLLECTIONS, '_base_'}:
        raise ValueError(f'no collection for configs/{", configs/".join(sorted(missing))}')
    for folder, (name, readme, _) in COLLECTIONS.items():
        configs = sorted((ROOT / 'configs' / folder).glob('**/*.py'))
        models = [entry(config) for config in configs if 'suites' not in config.parts]
        meta = dict(Collections=[dict(Name=name, README=readme, Paper=PAPER)], Models=models)
        text = yaml.safe_dump(meta, sort_keys=False, width=120)
        files[ROOT / 'configs' / folder / 'metafile.yml'] = text
    imports = [str(path.relative_to(ROOT)) for path in files]
    files[ROOT / 'model-index.yml'] = yaml.safe_dump(dict(Import=imports))
    return {path: '# Written by tools/make_index.py.\n' + text for path, text in files.items()}


def main() -> int:
    """Run the tool. Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--check', action='store_true', help='compare and write nothing')
    args = parser.parse_args()
    MMLogger.get_current_instance().setLevel('ERROR')
    changed = {path: text for path, text in index().items() if not path.exists() or path.read_text() != text}
    for path, text in changed.items():
        print(f'{path.relative_to(ROOT)} {"is not up to date" if args.check else "written"}')
        if not args.check:
            path.write_text(text)
    return int(args.check and bool(changed))


if __name__ == '__main__':
    sys.exit(main())
