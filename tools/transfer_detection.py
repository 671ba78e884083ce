r"""Compare a detector that starts from a distilled student with one that starts from the student trained alone.

    python tools/transfer_detection.py work_dirs/swin_to_r18/epoch_100.pth configs/detection/faster_rcnn_r18.py 8 \
        --alone work_dirs/swin_to_r18_alone/epoch_100.pth

Exports both students' backbones, trains and tests a detector on each with the data of CONFIG, and prints the mAP of
both, also at an overlap of 0.5. Detectors are in WORK_DIRS/<name of CONFIG> and WORK_DIRS/<name of CONFIG>_alone. If
called again, it resumes. Needs the extra `detection`, and the data.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import tas_mm  # noqa: F401  (makes tas_mm:: a base)
from tas_mm.config import read_config

TOOLS = Path(__file__).resolve().parent


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('student', type=Path, metavar='STUDENT_CKPT', help="of a distillation, or a student's file")
    parser.add_argument('config', metavar='CONFIG', help='config of a detector whose backbone starts from a checkpoint')
    parser.add_argument('gpus', metavar='GPUS', help='number of processes')
    parser.add_argument('--alone', type=Path, required=True, metavar='CKPT', help='of the student trained alone')
    parser.add_argument('--work-dirs', type=Path, default=Path('work_dirs'), help='default: work_dirs')
    parser.add_argument('--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='changes of CONFIG')
    return parser.parse_args()


def check_files(args: argparse.Namespace) -> None:
    """Stop before hours of training if a file is missing, or the config would not read the backbone.

    Raises:
        ValueError: If the backbone of the config does not start from a checkpoint, or a checkpoint does not exist.
    """
    model = read_config(args.config).get('model', {})
    if not (model.get('backbone', {}).get('init_cfg') or {}).get('checkpoint'):
        raise ValueError(
            f'{args.config}: model.backbone.init_cfg has no checkpoint to replace. Give a config such as '
            'configs/detection/faster_rcnn_r18.py'
        )
    for file in (args.student, args.alone):
        if not file.is_file():
            raise ValueError(f'{file} does not exist')


def claim(work_dir: Path, student: Path) -> None:
    """Record which student a work folder's detector starts from, because a finished run is resumed.

    Raises:
        ValueError: If the folder has a detector of another student.
    """
    note, key = work_dir / 'student.sha256', hashlib.sha256(student.read_bytes()).hexdigest()
    if (work_dir / 'last_checkpoint').exists() and not (note.exists() and note.read_text() == key):
        raise ValueError(
            f'{work_dir} has a detector of another student than {student}. Remove it, or set another --work-dirs'
        )
    work_dir.mkdir(parents=True, exist_ok=True)
    note.write_text(key)


def run(what: str, *command: object) -> None:
    """Print and run a command, and stop if it fails."""
    words = [str(word) for word in command]
    print(f'{what}: {" ".join(words)}', flush=True)
    subprocess.run(words, check=True, env=dict(os.environ, PYTHON=sys.executable))


def transfer(student: Path, work_dir: Path, args: argparse.Namespace) -> str:
    """Train and test a detector on one student. Return its mAPs."""
    claim(work_dir, student)
    backbone, metrics = work_dir / 'backbone.pth', work_dir / 'metrics.json'
    options = ['--cfg-options', f'model.backbone.init_cfg.checkpoint={backbone}', *args.cfg_options]
    run('export', sys.executable, TOOLS / 'export_student.py', student, backbone, '--to', 'backbone')
    run('train', TOOLS / 'dist_train.sh', args.config, args.gpus, '--work-dir', work_dir, '--resume', *options)
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    test = ('--work-dir', work_dir / 'test', '--out', metrics)
    run('test', TOOLS / 'dist_test.sh', args.config, checkpoint, args.gpus, *test, *options)
    found = {key.split('/')[-1]: value for key, value in json.loads(metrics.read_text()).items()}
    shown = [f'{key} {value:.3f}' for key, value in found.items() if key.endswith(('mAP', 'mAP_50'))]
    return ', '.join(shown) or 'no box was found'


def main() -> None:
    """Run the tool."""
    args = parse_args()
    name = Path(args.config.split('::')[-1]).stem
    students = {name: args.student, f'{name}_alone': args.alone}
    try:
        check_files(args)
        results = {folder: transfer(student, args.work_dirs / folder, args) for folder, student in students.items()}
    except (ValueError, OSError) as error:
        sys.exit(f'transfer_detection.py: {error}')
    except subprocess.CalledProcessError as error:
        sys.exit(f'transfer_detection.py: {Path(str(error.cmd[0])).name} failed with status {error.returncode}')
    for folder, result in results.items():
        print(f'{folder}: {result}')


if __name__ == '__main__':
    main()
