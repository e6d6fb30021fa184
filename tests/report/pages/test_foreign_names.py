"""Names in somebody else's records: text on the page and in the tables, and nothing is written outside the folder."""

import json

import pytest
import torch
import yaml

from ncbench.report.__main__ import main
from ncbench.report.pages import catalogue
from tests.helpers.own_paper import claims
from tests.helpers.run_folders import measurement, record, write_run

SCRIPT = "<script>alert(1)</script>"
NAMES = [
    *(SCRIPT, "<img src=x onerror=alert(1)>", "</svg><b>x", "../../../outside", "/outside/x", "a/../../outside"),
    *(
        "$\\frac{1",
        "$x_{$",
        "\\input{/etc/passwd}",
        "\x1b[31mred",
        "a\u202eb",
        "a\u2066b\u2069",
        "a\x00b",
        "\x7f",
        "a\nb",
    ),
    *("=HYPERLINK(1)", "-3", "@x", "\nssh-ed25519 AAAA\n", "$(touch PWNED)", "`touch PWNED`", "x" * 300),
]
TAGS = ("<script>alert", "<img", "<b>")


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_layers_and_measures_of_any_name(tmp_path, monkeypatch):
    """Every name is a layer and a measure, in the tables and in figures that are drawn."""
    run = write_run(tmp_path / "a" / "run", [0], name=SCRIPT, swept={NAMES[1]: NAMES[2], "=x": "=y"})
    found = {step: measurement(1, step, grams=step > 0) for step in (0, 1000)}
    for step in found:
        of_layer = torch.full((1,), 0.5, dtype=torch.float64)
        for name in NAMES:
            found[step].values["train", name, "post", "tcv"] = of_layer
            found[step].values["train", "features", "post", name] = of_layer
            found[step].spectra[name, "weight"] = torch.tensor([[2.0, 1.0]], dtype=torch.float64)
    record(run, [0], found)
    drawn = [figure for figure in catalogue.CATALOGUE if figure.name in ("collapse", "spectra")]
    monkeypatch.setattr(catalogue, "CATALOGUE", tuple(drawn))
    before = tree(tmp_path)
    assert main([str(run)]) == 0
    assert [path for path in set(tree(tmp_path)) - set(before) if not path.startswith("a/run/")] == []
    page = (run / "report.html").read_text()
    assert not [tag for tag in TAGS if tag in page]
    assert page.count("&lt;script&gt;alert(1)") >= 2


@pytest.mark.usefixtures("unrendered")
def test_a_script_in_every_text_that_a_folder_has(tmp_path):
    """Twelve places of the small files and more, each with a number of its own: those that are shown are escaped."""
    run = write_run(tmp_path / "run", list(range(8)), claims=claims())
    number = iter(range(1000))

    def planted(value):
        """The same with a script in every text that is no key of ours."""
        if isinstance(value, dict):
            return {key: planted(part) for key, part in value.items()}
        if isinstance(value, list):
            return [planted(part) for part in value]
        return f"<script>alert({next(number)})</script>{value}" if isinstance(value, str) else value

    info = json.loads((run / "run.json").read_text())
    kept = {key: info[key] for key in ("status", "config_hash", "started", "finished")}
    (run / "run.json").write_text(json.dumps(planted(info) | kept | {"error": planted("why")}))
    references = json.loads((run / "references.json").read_text())
    shown = [planted(line) | {"name": line["name"], "replicas": None} for line in references]
    (run / "references.json").write_text(json.dumps(shown))
    config = yaml.safe_load((run / "config.yaml").read_text())
    paper = config["reproduces"]["paper"]
    paper |= {"title": planted(paper["title"]), "figures": planted(paper["figures"])}
    for claim in [*config["claims"].values(), *paper["claims"].values()]:
        texts = ("statement", "says", "given", "open", "decided_by", "place", "condition")
        claim |= {key: planted(claim[key]) for key in texts if key in claim}
    (run / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(config))))
    assert next(number) > 30
    assert main([str(run)]) == 0
    assert main([str(tmp_path), "--index"]) == 0
    pages = [path.read_text() for path in (run / "report.html", tmp_path / "index.html", tmp_path / "README.md")]
    assert not [tag for tag in TAGS[:2] for page in pages if tag in page]  # the index has <b> of its own
    assert sum(page.count("&lt;script&gt;alert(") for page in pages) >= 12
