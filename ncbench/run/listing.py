"""What `python -m ncbench.train --list` prints: the experiments, their papers, costs and records."""

import itertools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.claims.papers import FORMS, paper_of, read_papers
from ncbench.records.schema import RUN_INFO
from ncbench.run.compose import compose_jobs, experiments

__all__ = ["list_experiments"]


def list_experiments(words: Sequence[str], *, names_only: bool = False, config_dirs: Sequence[str] = ()) -> str:
    """The experiments as text, a paragraph each or with `names_only` a name per line.

    `words` keep those that have a form (quick, paper) or belong to a paper (sukenik24, ...). Raises ValueError for
    another word. Experiments and papers of `config_dirs` are listed too. What lies in `untested/` was never run at its
    size: it has no form, and is listed without words only.
    """
    folders = [CONF_DIR, *map(Path, config_dirs)]
    known = [*FORMS, *read_papers(folders)]
    for word in words:
        if word not in known:
            raise ValueError(f"--list {word}: must be among {', '.join(known)}")
    lines = []
    listed = {name: path for folder in reversed(folders) for name, path in experiments(folder / "experiment").items()}
    for name, path in sorted(listed.items()):
        if words and (name.startswith("untested/") or not set(words) <= set(_labels(name, config_dirs))):
            continue
        if names_only:
            lines.append(name)
            continue
        header = _header(path.read_text())
        lines += [
            name,
            f"    paper   {header['Paper']}",
            f"    cost    {header['Cost']}",
            f"    record  {_record(name)}",
        ]
    return "".join(f"{line}\n" for line in lines)


def _labels(name: str, config_dirs: Sequence[str]) -> Iterator[str]:
    """The forms and the paper of an experiment, from its composed configuration."""
    (job,) = compose_jobs([f"+experiment={name}"], multirun=False, config_dirs=config_dirs)
    paper = paper_of(job.config.reproduces)
    if paper is not None:
        yield from job.config.reproduces["forms"]
        yield paper.key


def _record(name: str) -> str:
    folder = Path("docs", "results", name)
    infos = [json.loads(path.read_text()) for path in sorted((CONF_DIR.parent / folder).rglob(RUN_INFO))]
    if not infos:
        return "none"
    hashes = ", ".join(info["config_hash"][:10] for info in infos[:3]) + (", ..." if len(infos) > 3 else "")
    return f"{folder.as_posix()} ({hashes}; {sum(info['wall_seconds'] for info in infos):.0f} s)"


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
