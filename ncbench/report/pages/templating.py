"""The templates of the pages: everything that is put into them is escaped, and a missing value is an error."""

import base64
import hashlib
import re
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ncbench.report.pages.badges import badge
from ncbench.report.pages.glossary import GLOSSARY, anchor, terms


def environment() -> Environment:
    """The templates under ncbench/report/pages/templates; those of HTML escape what they are given."""
    templates = Environment(
        loader=PackageLoader("ncbench.report.pages", "templates"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    script = (files("ncbench.report.pages") / "templates" / "slider.js").read_text(encoding="utf-8")
    templates.globals |= {"script": Markup(script), "policy": policy(script), "badge": badge, "glossary": GLOSSARY}
    templates.filters |= {"terms": terms, "anchor": anchor, "markdown": markdown}
    templates.filters |= {"code": lambda text: re.sub(r"[^\w ./+=:,-]", "?", str(text))}
    return templates


def markdown(text: object) -> str:
    """Text that stands as it is in a cell of a Markdown table.

    >>> print(markdown("a|b <i>"))
    a\\|b &lt;i&gt;
    """
    plain = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", plain)


def policy(script: str) -> str:
    """A content security policy under which a page loads nothing and runs this one script.

    A script that came in through data would not have this hash, so a browser refuses it even if escaping failed.
    """
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
