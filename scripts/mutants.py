"""Plant bugs in the package, one at a time, and see that the tests catch each of them.

    python scripts/mutants.py [NAME ...] [--table FILE] [--page docs/testing.md]

The bugs stand in mutants.yaml: by file and name the text that is replaced (it occurs there exactly once), what replaces
it, what would be wrong, and the tests that have to say so. Everything happens in a copy of the checkout in a temporary
folder. First all those tests have to pass without a bug. A test that only asks whether the same text is still there, to
plant a bug of its own, catches nothing (`mutants_worker`).

Prints a table. --page writes it between the markers of a page. Exit status: 0 where each was caught, 1 where one
survived, 2 where the table does not fit the code or the tests fail without a bug.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = Path(__file__).resolve().parent
COPIED = ("ncbench", "hydra_plugins", "conf", "tests", "scripts", "docs")  # what tests read, and the files at the root
BEGIN, END = "<!-- mutants: begin -->", "<!-- mutants: end -->"
SURVIVED = "SURVIVED"
PASSED, FAILED = 0, 1  # exit statuses of pytest; with any other no test has looked at the bug
_FIRST = re.compile(r"^(?:FAILED|ERROR) (\S+?::\w+)", re.MULTILINE)


class Mutant(NamedTuple):
    """A bug: in `file`, `old` becomes `new`. `why` is what would be wrong, `tests` what has to fail."""

    name: str
    file: str
    old: str
    new: str
    why: str
    tests: tuple[str, ...]


class Outcome(NamedTuple):
    """The first test that failed, or SURVIVED; and the seconds that it took."""

    caught_by: str
    seconds: float


def read(table: Path) -> list[Mutant]:
    """The bugs of a table. ValueError where two have one name, or one changes nothing or names no test."""
    content = yaml.safe_load(table.read_text(encoding="utf-8"))
    mutants = [
        Mutant(name, file, **{**entry, "tests": tuple(entry["tests"])})
        for file, entries in content.items()
        for name, entry in entries.items()
    ]
    names = [mutant.name for mutant in mutants]
    for mutant in mutants:
        if names.count(mutant.name) > 1 or mutant.old == mutant.new or not mutant.tests:
            raise ValueError(f"{mutant.name}: must have a name of its own, change something and name a test")
    return mutants


def planted(root: Path, mutant: Mutant) -> str:
    """The text of the file with the bug in it. ValueError unless the text to be replaced is there exactly once."""
    text = (root / mutant.file).read_text(encoding="utf-8")
    count = text.count(mutant.old)
    if count != 1:
        raise ValueError(f"{mutant.name}: its text occurs {count} times in {mutant.file}, not once: {mutant.old}")
    return text.replace(mutant.old, mutant.new)


def copied(root: Path, folder: Path) -> Path:
    """A copy of what the tests need of the checkout."""
    for name in COPIED:
        if (root / name).is_dir():
            shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in root.iterdir():
        if file.is_file():
            shutil.copy(file, folder / file.name)
    return folder


class Tests:
    """pytest in a copy of the checkout, with the package as the copy has it at the time (`mutants_worker`)."""

    def __init__(self, copy: Path) -> None:
        self.copy = copy
        self._worker: subprocess.Popen[str] | None = None

    def _started(self) -> "subprocess.Popen[str]":
        paths = os.pathsep.join(map(str, (self.copy, self.copy / "scripts")))
        own = {"PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        environment = {**os.environ, **own, "OMP_NUM_THREADS": "1"}
        command, pipe = [sys.executable, str(SCRIPTS / "mutants_worker.py")], subprocess.PIPE
        return subprocess.Popen(command, cwd=self.copy, env=environment, text=True, stdin=pipe, stdout=pipe)

    def run(self, tests: Iterable[str], *options: str) -> tuple[int, str]:
        """Exit status and output of pytest on these tests."""
        self._worker = self._worker or self._started()
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        words = ["-q", "--tb=no", "-rfE", "-p", "no:cacheprovider", *options, *tests]
        print(json.dumps(words), file=self._worker.stdin, flush=True)
        status, output = json.loads(self._worker.stdout.readline())
        return int(status), str(output)

    def __enter__(self) -> "Tests":
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker is not None:
            self._worker.communicate()  # its input ends, and so does it


def try_mutant(tests: Tests, mutant: Mutant) -> Outcome:
    """Plant a bug in the copy, run its tests up to the first that fails, and take the bug out again.

    ValueError where the tests could not be run, such as a bug with which the package is not imported.
    """
    path, began = tests.copy / mutant.file, time.monotonic()
    whole, bug = path.read_text(encoding="utf-8"), planted(tests.copy, mutant)
    path.write_text(bug, encoding="utf-8")
    try:
        status, output = tests.run(mutant.tests, "-x")
    finally:
        path.write_text(whole, encoding="utf-8")
    if status not in (PASSED, FAILED):
        raise ValueError(f"{mutant.name}: its tests did not run (pytest ended with {status})\n{output}")
    first = _FIRST.search(output)
    assert status == PASSED or first is not None, output
    return Outcome(first[1] if first else SURVIVED, time.monotonic() - began)


def rows(mutants: Sequence[Mutant], outcomes: Sequence[Outcome]) -> list[str]:
    """The table of a page, in Markdown."""
    lines = ["| bug | in | what would be wrong | caught by |", "|---|---|---|---|"]
    for mutant, outcome in zip(mutants, outcomes, strict=True):
        file = mutant.file.removeprefix("ncbench/")
        why = mutant.why.replace("|", "\\|")
        test = "::<br>".join(f"`{part}`" for part in outcome.caught_by.removeprefix("tests/").split("::"))
        lines.append(f"| `{mutant.name}` | `{file}` | {why} | {test} |")
    return lines


def write_page(page: Path, lines: Sequence[str]) -> None:
    """Replace what stands between the markers of a page. ValueError where they are not there."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page}: must hold {BEGIN} and {END}")
    page.write_text("\n".join([before + BEGIN, "", *lines, "", END + after]), encoding="utf-8")


def run(names: Sequence[str], table: Path, root: Path, page: Path | None) -> int:
    """The whole command; the exit status."""
    known = read(table)
    unknown = sorted(set(names) - {mutant.name for mutant in known})
    if unknown or (names and page):
        raise ValueError(f"{unknown[0]}: no bug of {table} has this name" if unknown else "--page is for all bugs")
    mutants = [mutant for mutant in known if not names or mutant.name in names]
    for mutant in mutants:
        planted(root, mutant)
    with tempfile.TemporaryDirectory(prefix="ncbench-mutants-") as folder, Tests(copied(root, Path(folder))) as tests:
        status, output = tests.run(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
        if status != PASSED:
            raise ValueError(f"the tests fail without a bug (pytest ended with {status})\n{output}")
        print(output.strip().splitlines()[-1], "without a bug", flush=True)
        outcomes = []
        for number, mutant in enumerate(mutants, start=1):
            outcomes.append(outcome := try_mutant(tests, mutant))
            where = f"{number:3}  {mutant.name:34} {outcome.seconds:4.0f} s"
            print(f"{where}  {outcome.caught_by.removeprefix('tests/')}", flush=True)
    survived = [mutant.name for mutant, outcome in zip(mutants, outcomes, strict=True) if outcome.caught_by == SURVIVED]
    print(f"{len(mutants) - len(survived)} of {len(mutants)} caught" + "".join(f"\nsurvived: {n}" for n in survived))
    if page is not None:
        write_page(page, rows(mutants, outcomes))
    return 1 if survived else 0


def main(words: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", metavar="NAME", nargs="*")
    parser.add_argument("--table", type=Path, default=SCRIPTS / "mutants.yaml", metavar="FILE")
    parser.add_argument("--root", type=Path, default=ROOT, metavar="DIR", help="the checkout; this one by default")
    parser.add_argument("--page", type=Path, metavar="FILE", help="also write the table into this page")
    arguments = parser.parse_args(words)
    try:
        return run(arguments.names, arguments.table, arguments.root, arguments.page)
    except (ValueError, OSError) as error:
        print(f"mutants: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
