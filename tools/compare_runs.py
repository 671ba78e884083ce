"""Compare finished runs: a table of last-epoch accuracies and times, and a picture of the curves.

python tools/compare_runs.py work_dirs/student_alone work_dirs/student_tas
"""

import argparse

from rich.console import Console
from rich.table import Table

from tas_mm.analysis.figures.curves import draw_accuracy
from tas_mm.analysis.logs import METRIC, ROLES, check_metric, main_metric, read_run


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('work_dirs', nargs='+', help='work folders of the runs')
    parser.add_argument('--metric', help=f'metric to compare (default: {METRIC}, or what a probe measures)')
    parser.add_argument('--out', default='curves.png', help='picture to write (default: curves.png)')
    return parser.parse_args()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    try:
        runs = [read_run(work_dir) for work_dir in args.work_dirs]
        metric = args.metric or main_metric(runs)
        check_metric(runs, metric)
    except (ValueError, FileNotFoundError) as error:
        raise SystemExit(f'tools/compare_runs.py: {error}') from error
    unit = '' if metric.endswith(('cka', 'cosine')) else ' (%)'
    table = Table('run', 'network', f'{metric}, last epoch{unit}', 'seconds', title='Results')
    for run in runs:
        distilled = any(run.last(role + metric) is not None for role in ROLES if role)
        for role in ROLES:
            value = run.last(role + metric)
            if value is not None:
                network = role.rstrip('.') or ('student' if distilled else 'trained alone')
                table.add_row(run.name, network, f'{value:.2f}', '' if role else f'{run.seconds:.0f}')
    Console().print(table)
    draw_accuracy(runs, args.out, metric)
    print(f'Curves: {args.out}')


if __name__ == '__main__':
    main()
