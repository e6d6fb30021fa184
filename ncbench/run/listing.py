"""What `python -m ncbench.train --list` prints: a table of the experiments, their papers, costs and records."""

import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.claims.papers import FORMS, paper_of, read_papers
from ncbench.records.schema import RUN_INFO
from ncbench.run.compose import compose_jobs, experiments

__all__ = ["list_experiments"]

RECORDS = "docs/results"
WIDEST = 1000  # columns: more than any line has
_END_OF_CLAUSE = re.compile(r"[:;.]( |$)| \(| with ")


def list_experiments(
    words: Sequence[str], *, names_only: bool = False, config_dirs: Sequence[str] = (), width: int | None = None
) -> str:
    """The experiments as a table that wraps in `width` columns, or a name per line.

    The default is the terminal's width, or what COLUMNS says; through a pipe, to another program, no line is broken.

    `words` keep those that have a form (quick, paper) or belong to a paper (sukenik24, ...). Raises ValueError for
    another word. Experiments and papers of `config_dirs` are listed too. What lies in `untested/` was never run at its
    size: it has no form, and is listed without words only.
    """
    folders = [CONF_DIR, *map(Path, config_dirs)]
    known = [*FORMS, *read_papers(folders)]
    for word in words:
        if word not in known:
            raise ValueError(f"--list {word}: must be among {', '.join(known)}")
    found = {name: path for folder in reversed(folders) for name, path in experiments(folder / "experiment").items()}
    listed = {
        name: path
        for name, path in sorted(found.items())
        if not words or (not name.startswith("untested/") and set(words) <= set(_labels(name, config_dirs)))
    }
    if names_only:
        return "".join(f"{name}\n" for name in listed)
    table = Table(
        "+experiment=", "paper and figure", "cost", "record", box=SIMPLE_HEAD, pad_edge=False, show_edge=False
    )
    table.columns[0].no_wrap = True
    for name, path in listed.items():
        header = _header(path.read_text())
        table.add_row(name, _clause(header["Paper"]), _clause(header["Cost"]), _record(name))
    console = Console(width=width or _columns(), markup=False, highlight=False)
    with console.capture() as shown:
        console.print(table)
    lines = [line.rstrip() for line in shown.get().splitlines()]
    return "\n".join([*lines, "", f"Records: {RECORDS}/NAME. More: conf/experiment/NAME.yaml.", ""])


def _columns() -> int | None:
    """The width of the table where no person at a terminal looks at it; None: rich asks the terminal."""
    return None if sys.stdout.isatty() or "COLUMNS" in os.environ else WIDEST


def _labels(name: str, config_dirs: Sequence[str]) -> Iterator[str]:
    """The forms and the paper of an experiment, from its composed configuration."""
    (job,) = compose_jobs([f"+experiment={name}"], multirun=False, config_dirs=config_dirs)
    paper = paper_of(job.config.reproduces)
    if paper is not None:
        yield from job.config.reproduces["forms"]
        yield paper.key


def _record(name: str) -> str:
    return "yes" if any((CONF_DIR.parent / RECORDS / name).rglob(RUN_INFO)) else "none"


def _clause(text: str) -> str:
    """The words before the first colon, semicolon, full stop, bracket or "with".

    >>> _clause("arXiv 2405.14468, Figure 2 top: decay 4e-3"), _clause("2.5 minutes on an H200; hours on two cores.")
    ('arXiv 2405.14468, Figure 2 top', '2.5 minutes on an H200')
    """
    end = _END_OF_CLAUSE.search(text)
    return text[: end.start()] if end else text


def _header(text: str) -> dict[str, str]:
    """The labelled paragraphs of the comment an experiment file opens with."""
    paragraphs: dict[str, str] = {"Paper": "-", "Cost": "-"}
    label = ""
    for line in itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()[1:]):
        word, _, rest = line[2:].partition(" ")
        if word in ("Paper", "Command", "Expected", "Cost"):
            label, paragraphs[word] = word, rest.strip()
        elif label:
            paragraphs[label] += f" {line[2:].strip()}"
    return paragraphs
