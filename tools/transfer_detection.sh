#!/usr/bin/env bash
# What distillation is worth to a detector: train one from a distilled student and one from the student trained alone.
#   tools/transfer_detection.sh STUDENT_CKPT CONFIG GPUS
# STUDENT_CKPT is a checkpoint of a distillation or a student's file; CONFIG is such as configs/detection/faster_rcnn_r18.py.
# ALONE=CKPT names the checkpoint of the student alone; by default the one in the twin, faster_rcnn_r18_alone.py.
# Both are exported, trained and tested on the data of CONFIG; both mAPs, and those at an overlap of 0.5, are printed.
# Needs the extra `detection`, and the data.
set -euo pipefail
USAGE='usage: tools/transfer_detection.sh STUDENT_CKPT CONFIG GPUS'
STUDENT=${1:?$USAGE}
CONFIG=${2:?$USAGE}
GPUS=${3:?$USAGE}
OPTIONS=("${@:4}")
TOOLS=$(dirname "$0")
export PYTHON=${PYTHON:-python}
TWIN=${CONFIG%.py}_alone.py
for file in "$STUDENT" "$CONFIG" "$TWIN"; do
    [ -f "$file" ] || { echo "$file does not exist" >&2; exit 1; }
done
ALONE=${ALONE:-$(sed -n "s/.*checkpoint='\([^']*\)'.*/\1/p" "$TWIN")}
[ -f "$ALONE" ] || { echo "$ALONE does not exist: train the student alone, or name it with ALONE=CKPT" >&2; exit 1; }

transfer() { # CHECKPOINT CONFIG
    local name work
    name=$(basename "$2" .py)
    work=${WORK_DIRS:-work_dirs}/$name
    mkdir -p "$work"
    # A finished run goes on, so it must be this student's.
    local student
    student=$(sha256sum < "$1")
    if [ -f "$work/last_checkpoint" ] && [ "$student" != "$(cat "$work/student.sha256" 2> /dev/null)" ]; then
        echo "$work holds a detector of another student: remove it, or name another place with WORK_DIRS" >&2
        exit 1
    fi
    echo "$student" > "$work/student.sha256"
    "$PYTHON" "$TOOLS/export_student.py" "$1" "$work/backbone.pth" --to backbone
    local options=("model.backbone.init_cfg.checkpoint=$work/backbone.pth" ${OPTIONS[@]+"${OPTIONS[@]}"})
    "$TOOLS/dist_train.sh" "$2" "$GPUS" --work-dir "$work" --resume --cfg-options "${options[@]}"
    "$TOOLS/dist_test.sh" "$2" "$(cat "$work/last_checkpoint")" "$GPUS" --work-dir "$work/test" \
        --out "$work/metrics.json" --cfg-options "${options[@]}"
}

transfer "$STUDENT" "$CONFIG"
transfer "$ALONE" "$TWIN"
"$PYTHON" - "$CONFIG" "$TWIN" <<'END'
import json, os, pathlib, sys
for config in sys.argv[1:]:
    name = pathlib.Path(config).stem
    metrics = json.loads(pathlib.Path(os.environ.get('WORK_DIRS', 'work_dirs'), name, 'metrics.json').read_text())
    found = [f'{key.split("/")[-1]} {value:.3f}' for key, value in metrics.items() if key.endswith(('mAP', 'mAP_50'))]
    print(f'{name}: {", ".join(found) or "no box was found"}')
END
