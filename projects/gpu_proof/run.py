"""Prove on a GPU what is claimed of it: part by part, each in a few minutes, none twice.

    python -m projects.gpu_proof.run --minutes 9.5            # again and again, until it says that all are finished
    python -m projects.gpu_proof.run --only step/swin_to_r18
    python -m projects.gpu_proof.run --device cpu --tiny      # a rehearsal
    python -m projects.gpu_proof.run --page docs/gpu.md       # runs nothing, writes the tables into the page

A part is skipped if OUT/lines.jsonl has its line, with the same configs, versions and device. One that failed runs
again after those that were not tried yet. The lines are read from --known too, such as those of a machine that is gone.
"""

import argparse
import os
import shlex
import sys
import time
from pathlib import Path

# Installing and importing are part of the call's time.
os.environ.setdefault('GPU_PROOF_BEGAN', str(time.time()))
# Else importing MMEngine starts CUDA, and a process that has it must not fork.
os.environ.setdefault('PYTORCH_NVML_BASED_CUDA_CHECK', '1')

from projects.gpu_proof.isolated import run_isolated
from projects.gpu_proof.lines import FAILED, OK, Line, append_line, device_name, line_key, read_lines, versions
from projects.gpu_proof.parts import Part, all_parts
from projects.gpu_proof.report import tables, write_page
from projects.gpu_proof.setup import Setup

LINES = 'lines.jsonl'
SHARED = Path('docs/benchmark/gpu_proof.jsonl')
"""Raw lines beside the page's tables."""


def parse_args(options: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', choices=['cuda', 'cpu'], default='cuda')
    parser.add_argument('--tiny', action='store_true', help='rehearse with tiny networks and two steps')
    parser.add_argument('--minutes', type=float, default=float('inf'), help='time of this call (default: no limit)')
    parser.add_argument('--only', default='', help='only parts whose name contains this')
    parser.add_argument('--again', action='store_true', help='run finished parts again')
    parser.add_argument('--list', action='store_true', help='name the parts and their states, and run nothing')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/gpu_proof'), help='folder of the results')
    parser.add_argument('--known', type=Path, nargs='+', default=[], help='more files of lines')
    parser.add_argument('--data', type=Path, default=Path('data'), help='folder of photos and fashion_mnist')
    parser.add_argument('--page', type=Path, help='run nothing, and write the tables of a GPU into this page')
    return parser.parse_args(options)


def main(options: list[str] | None = None) -> int:
    """Run the parts that are missing; return 0 if all are finished, else 1."""
    args, began = parse_args(options), float(os.environ['GPU_PROOF_BEGAN'])
    files = [*args.known, args.out / LINES]
    if args.page:
        return _write(args.page, files)
    if args.device == 'cpu':
        os.environ['CUDA_VISIBLE_DEVICES'] = ''
    elif args.tiny:
        raise SystemExit('--tiny is for --device cpu')
    setup = Setup(args.device, args.tiny, args.out / 'work', args.data)
    try:
        place = dict(device=device_name(args.device), versions=versions(), tiny=args.tiny)
    except RuntimeError as error:
        raise SystemExit(str(error)) from error
    parts = {
        line_key(part.key_options(setup), place['device'], place['versions']): part
        for part in all_parts(setup, args.out)
        if args.only in part.name
    }
    lines = read_lines(files)
    if args.list:
        print('\n'.join(f'{lines.get(key, {}).get("state", "-"):10} {part.name}' for key, part in parts.items()))
        return 0
    for key in missing(parts, {} if args.again else lines):
        left = 60 * args.minutes - (time.time() - began)
        if left < parts[key].needs:
            print(f'{parts[key].name} needs {parts[key].needs:.0f} s, {max(left, 0):.0f} are left')
            continue
        lines[key] = dict(_run(parts[key], setup, left), key=key, command=_command(args), **place)
        append_line(args.out / LINES, lines[key])
    here = [lines[key] for key in parts if key in lines]
    (args.out / 'tables.md').write_text(tables(here))
    done = sum(line['state'] == OK for line in here)
    print(f'{done} of {len(parts)} parts are finished; lines and tables: {args.out}')
    return int(done < len(parts))


def missing(parts: dict[str, Part], lines: dict[str, Line]) -> list[str]:
    """Return the keys of the parts that are not finished, those that failed last.

    Args:
        parts (dict): Parts by key.
        lines (dict): Lines by key.
    """
    states = {key: lines.get(key, {}).get('state') for key in parts}
    return sorted((key for key in parts if states[key] != OK), key=lambda key: states[key] == FAILED)


def _run(part: Part, setup: Setup, seconds: float) -> Line:
    print(f'{part.name}: ', end='', flush=True)
    found = run_isolated(part, setup, seconds)
    print(f'{found["state"]}, {found["seconds"]} s', flush=True)
    if found['state'] == FAILED:
        print(found['error'], file=sys.stderr)
    return dict(part=part.name, kind=part.kind, options=part.options, seed=0, **found)


def _command(args: argparse.Namespace) -> str:
    """Return the command that runs the same parts."""
    words = ['python', '-m', 'projects.gpu_proof.run', *(['--device', 'cpu'] if args.device == 'cpu' else [])]
    return shlex.join([*words, *(['--tiny'] if args.tiny else []), *(['--only', args.only] if args.only else [])])


def _write(page: Path, files: list[Path]) -> int:
    try:
        number = write_page(page, SHARED, read_lines(files).values())
    except ValueError as error:
        raise SystemExit(str(error)) from error
    print(f'{page}: {number} lines; raw lines: {SHARED}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
