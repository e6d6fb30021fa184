"""The wheel carries the configuration tree and runs from another folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def test_the_wheel_runs_from_elsewhere(tmp_path):
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("ncbench-*.whl")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(site)
    assert "ncbench/conf/experiment/digits_mlp.yaml" in names
    assert "ncbench/py.typed" in names
    assert "ncbench/report/pages/templates/page.html.jinja" in names
    command = [sys.executable, "-m", "ncbench.train", "+experiment=dufm_k10", "schedule.steps=10", "replicate.seed=1"]
    code = f"import sys; sys.path.insert(0, {str(site)!r}); import ncbench; print(ncbench.__file__)"
    where = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=elsewhere, capture_output=True, text=True, check=True
    )
    assert where.stdout.startswith(str(site))
    environment = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(command, cwd=elsewhere, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(elsewhere.glob("outputs/dufm_k10/*/run.json"))
    drawn = [sys.executable, "-m", "ncbench.report", "outputs"]
    assert subprocess.run(drawn, cwd=elsewhere, env=environment, capture_output=True, check=False).returncode == 0
    assert (elsewhere / "outputs" / "report.html").is_file()
