"""Called before anything else by the commands that read run folders: none of their modules is the folder's.

`python -m ncbench.report .` has the current folder in front of the path of modules, so a pandas.py in it would be taken
for pandas. It is taken off the path, unless this package itself was found there, which is then a checkout. Commands
that train keep it: a module of the user's own is found there.
"""

import os
import sys

__all__ = ["leave_current_folder"]

_CHECKOUT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def leave_current_folder() -> None:
    """Take the current folder off the front of the path of modules, unless this package was found there."""
    here = os.getcwd()
    if sys.path and sys.path[0] in ("", here) and os.path.realpath(here) != os.path.realpath(_CHECKOUT):
        del sys.path[0]
