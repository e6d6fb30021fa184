"""How a wrong input has to be answered, by whatever command."""

PYTHONS = ("TypeError", "object is not", "Error in call to target", "Traceback", "NoneType", "Error(", "ListConfig")


def refused(main, message, folder, capfd):
    """`main` gives status 2 and one line that begins with the message, in words of ours, and `folder` is as before.

    A message with a star in front may begin anywhere in the line.
    """
    before = _tree(folder)
    assert main() == 2
    captured = capfd.readouterr()
    said = captured.err.rstrip("\n")
    found = said.partition(": ")[2]
    assert message[1:] in found if message.startswith("*") else found.startswith(message), said
    assert said.startswith("ncbench"), said
    assert "\n" not in said, said
    assert captured.out == ""
    assert not [word for word in PYTHONS if word in said], said
    assert _tree(folder) == before


def _tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
