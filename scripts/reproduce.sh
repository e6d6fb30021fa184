#!/usr/bin/env bash
# Every experiment that has a form, and the index of figures with verdicts:
#
#     scripts/reproduce.sh quick            the quick forms of all papers (minutes each on two CPU cores)
#     scripts/reproduce.sh paper sukenik24  the paper-size forms of one paper
#
# Interrupted and started again it continues: a finished experiment is left as it is, an interrupted one resumes.
# OUT    where runs and reports go (default outputs/reproduce/FORM)
# DATA   root of MNIST and CIFAR-10 for torchvision (default: its own, downloaded)
# PYTHON the interpreter (default: .venv's, then python3)
# Exit status: 1 when an experiment failed or a verdict differs from what its file expects; 2 for wrong arguments.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

form="${1:-}"
if [[ $# -lt 1 || $# -gt 2 || ( "$form" != quick && "$form" != paper ) || "${2:-}" == quick || "${2:-}" == paper ]]; then
    echo "usage: scripts/reproduce.sh quick|paper [PAPER]" >&2
    exit 2
fi
python="${PYTHON:-$([[ -x .venv/bin/python ]] && echo .venv/bin/python || echo python3)}"
if ! "$python" -c "import hydra, torch" 2>/dev/null; then
    echo "$python has no ncbench environment: run make demo first, or set PYTHON" >&2
    exit 2
fi
out="${OUT:-outputs/reproduce/$form}"
names=$("$python" -m ncbench.train --list --names "$@") || exit 2
if [[ -z "$names" ]]; then
    echo "no experiment has the form $*" >&2
    exit 2
fi
trap 'echo "interrupted; the same command continues" >&2; exit 1' INT TERM

status=0
for name in $names; do
    folder="$out/$name"
    echo "== $name"
    command=("$python" -m ncbench.train "+experiment=$name" "hydra.run.dir=$folder" "hydra.sweep.dir=$folder" trainer.progress=false)
    [[ -n "${DATA:-}" && "$form" == paper ]] && command+=("dataset.root=$DATA")
    if ! "${command[@]}"; then
        echo "failed: $name" >&2
        status=1
    fi
    # Drawn also after a failure: the page says which run is in which state.
    "$python" -m ncbench.report "$folder" --check --draw || status=1
done
"$python" -m ncbench.report "$out" --index || status=1
exit $status
