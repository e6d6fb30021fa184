"""How the documentation site reads this package's docstrings: an extension of Griffe, loaded by mkdocs.yml.

Docstrings are written for readers of the source: an entry may name several arguments (`rtol, convention: as in nc1`),
and an example may stand without a heading. In the parsed form every argument has an entry of its own and every example
the heading that makes code of it.
"""

import re

import griffe

_ENTRY = re.compile(r"^(\s+)(\w+(?:, \w+)+): ", re.MULTILINE)
_EXAMPLE = re.compile(r"(?:^|\n\n)(>>> .*(?:\n.+)*)")


def readable(text: str) -> str:
    """The docstring in the form that Griffe's parser of Google style takes.

    >>> print(readable("Rate.\\n\\nArgs:\\n    a, b: numbers."))
    Rate.
    <BLANKLINE>
    Args:
        a: numbers.
        b: as `a`.
    """
    text = _EXAMPLE.sub(lambda match: "\n\nExamples:\n    " + match[1].replace("\n", "\n    "), text)
    head, args, tail = text.partition("\nArgs:\n")
    body, end, rest = tail.partition("\n\n")
    return head + args + "".join(_split(entry) for entry in re.split(r"(?m)^(?=    \w)", body)) + end + rest


def _split(entry: str) -> str:
    found = _ENTRY.match(entry)
    if not found:
        return entry
    first, *others = found[2].split(", ")
    entry = f"{found[1]}{first}: {entry[found.end() :]}"
    return (
        entry.rstrip("\n")
        + "".join(f"\n{found[1]}{name}: as `{first}`." for name in others)
        + "\n" * entry.endswith("\n")
    )


class Docstrings(griffe.Extension):
    """Gives every docstring its readable form."""

    def on_instance(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = readable(obj.docstring.value)
