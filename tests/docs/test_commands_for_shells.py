"""Commands of the documents can be pasted into bash and zsh: what a shell would expand is quoted."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = sorted(
    [path for path in ROOT.glob("*.md")]
    + [path for path in (ROOT / "docs").rglob("*.md")]
    + [path for path in (ROOT / "conf").rglob("*.yaml")]
)
COMMAND = re.compile(r"(?<![\w.])(?:python -m ncbench[.\w]*|ncbench (?:train|sweep|report|measure)) [^`\n]*")


def expanded(command):
    """The words of a command that zsh or bash would not take as they stand: globs, braces, home folders, brackets."""
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\\.", "_", command)
    bare = re.split(r"\s#|\s[|&;<>]|\$\(", bare)[0]
    words = [word for word in bare.split() if not re.fullmatch(r"[\w./]+/\*", word)]  # folders that are there
    return [word for word in words if re.search(r"[\[\]*?(){}]|^[~=]|!", word)]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("python -m ncbench.train references=[]", ["references=[]"]),
        ("python -m ncbench.train 'references=[]' \"a=[1,2]\"   # [] is a list", []),
        ("python -m ncbench.train ~claims +experiment=glob(x*)", ["~claims", "+experiment=glob(x*)"]),
        ("python -m ncbench.train model={depth:3} seed=1,2", ["model={depth:3}"]),
        (r"python -m ncbench.train name=a\*b", []),
    ],
)
def test_what_a_shell_would_expand_is_found(command, words):
    assert expanded(command) == words
    assert shlex.split(command, comments=True)


def test_every_command_of_the_documents_can_be_pasted():
    wrong = [
        f"{path.relative_to(ROOT)}: {word} in: {command}"
        for path in TEXTS
        for command in COMMAND.findall(path.read_text(encoding="utf-8"))
        for word in expanded(command)
        if not re.fullmatch(r"\[[^\]]*\]?|[^\[]*\]", word)  # [key=value ...] says what may be left out
    ]
    assert not wrong, "\n".join(wrong)
