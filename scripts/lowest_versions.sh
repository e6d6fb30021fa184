#!/usr/bin/env bash
# The lowest versions that pyproject.toml admits, in an environment of their own, and a part of the tests there:
#
#     scripts/lowest_versions.sh DIR                    makes DIR/venv (some 6 GB with torch's own CUDA) and tests there
#     scripts/lowest_versions.sh DIR tests/core         other tests than those named below
#
# Needs uv, which resolves what is named to its lowest and the rest to its newest versions. Warnings of such old versions
# are no failures. The result is kept in docs/citing.md.
# UV      uv (default: that of PATH)
# PYTHON  the interpreter (default python3.11)
# Exit status: that of the tests; 2 for wrong arguments.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

if [[ $# -lt 1 ]]; then
    echo "usage: scripts/lowest_versions.sh DIR [TESTS]" >&2
    exit 2
fi
uv="${UV:-uv}"
mkdir -p "$1" && dir="$(realpath "$1")" || exit 1
shift
# A training of each kind, stopped and resumed ones, records, measuring, reports, loggers, the lanes of numba.
tests=("$@")
if [[ ${#tests[@]} -eq 0 ]]; then
    tests=(
        tests/run/test_runs.py tests/run/test_whole_networks.py tests/training/test_checkpoints.py
        tests/data/test_torchvision_sets.py tests/measure/test_measure_command.py tests/records tests/report/test_settings.py
        tests/report/figures/test_figures.py tests/training/test_wandb_run.py tests/run/test_composer.py
        tests/models/optim/test_lanes.py tests/training/test_logged_history.py tests/measure/test_loggers.py
    )
fi
if [[ ! -e "$dir/.installed" ]]; then
    python="${PYTHON:-python3.11}"
    "$uv" pip compile --quiet --resolution lowest-direct --python-version "$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" \
        pyproject.toml --group test --no-annotate --output-file "$dir/lowest.txt" || exit 1
    "$uv" venv --quiet --clear --python "$python" "$dir/venv" || exit 1
    "$uv" pip install --quiet --python "$dir/venv/bin/python" --requirement "$dir/lowest.txt" || exit 1
    "$uv" pip install --quiet --python "$dir/venv/bin/python" --no-deps --editable . || exit 1
    touch "$dir/.installed"
fi
grep -E '^(torch|torchvision|pytorch-lightning|hydra-core|numba|numpy|pandas|pyarrow|wandb|tensorboard)==' "$dir/lowest.txt"
exec "$dir/venv/bin/python" -m pytest -q -W default -m "not slow and not gpu" "${tests[@]}"
