"""The papers and their figures: what the index of results has a place for, reproduced or not yet.

A paper is a file `paper/KEY.yaml` (arxiv, title, figures: number -> what it shows, claims: name -> what it says) of
this package's configuration or of a user's own `--config-dir`. Versions of a paper are separate files where they have
different figures. A run carries a user's paper with it (`carry_paper`), so that its folder is judged and indexed where
that file is unknown.
"""

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ncbench.claims.conf_dir import CONF_DIR
from ncbench.claims.paper_claims import PaperClaim
from ncbench.claims.rules import Text, broken
from ncbench.claims.selection import Keys

__all__ = [
    "FORMS",
    "PICTURES",
    "Paper",
    "carry_paper",
    "check_reproduces",
    "departures",
    "figure_numbers",
    "package_papers",
    "paper_of",
    "read_papers",
]

FORMS = ("quick", "paper")  # quick: minutes on two CPU cores; paper: the size of the paper
# The figures of `ncbench.report.figure` that one picture shows; a test compares the two, as claims stand alone.
PICTURES = (
    *("blocks", "bounds", "collapse", "dnc_share", "end_states", "gram", "heatmap", "learning_curves", "logits"),
    *("loss", "loss_ratio", "means", "measures", "neural_collapse", "nullity", "phase_diagram", "predicted", "rank"),
    *("rank_over", "seed_range", "sign_map", "simplex", "size_scaling", "spectra", "summary", "tails"),
)
_KEYS = ("paper", "figure", "forms", "variation", "departs", "picture")


def _numbered(value: Any) -> Any:
    if not isinstance(value, Mapping) or not value:
        raise ValueError("must be a mapping of figure numbers to what they show")
    return {str(number): shows for number, shows in value.items()}


class Paper(Keys):
    """A paper under the short name that its folder of experiments has; its figures, what each shows, what it claims."""

    key: Text
    arxiv: Text | None = None
    title: Text
    figures: Annotated[dict[str, Text], BeforeValidator(_numbered)]
    claims: dict[str, PaperClaim] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _claims_are_of_its_figures(self) -> "Paper":
        for name, claim in self.claims.items():
            for figure in claim.figures:
                if figure not in self.figures:
                    rule = f"must be among the figures {', '.join(self.figures)}"
                    raise broken(f"claims.{name}.figures", figure, rule)
        return self

    @property
    def label(self) -> str:
        """How a reader names it in short."""
        return f"arXiv {self.arxiv}" if self.arxiv else self.key


def read_papers(folders: Iterable[Path]) -> dict[str, Paper]:
    """The papers that these folders hold, by key; of two with one key the first. ValueError for a file that is none."""
    papers: dict[str, Paper] = {}
    for folder in folders:
        for path in sorted((folder / "paper").glob("*.yaml")):
            if path.stem not in papers:
                try:
                    content = yaml.safe_load(path.read_text(encoding="utf-8"))
                except yaml.YAMLError as error:
                    raise ValueError(f"{path}: {' '.join(str(error).split())}") from None
                papers[path.stem] = _paper(str(path), content, key=path.stem)
    return papers


@functools.cache
def package_papers() -> dict[str, Paper]:
    """The papers of this package."""
    return read_papers([CONF_DIR])


def carry_paper(reproduces: Any, folders: Iterable[Path]) -> Any:
    """`reproduces` with its paper written out, where a file of these folders says what this package does not know."""
    key = reproduces.get("paper") if isinstance(reproduces, Mapping) else None
    if not isinstance(key, str) or key in package_papers():
        return reproduces
    papers = read_papers(folders)
    return (
        {**reproduces, "paper": papers[key].model_dump(mode="json", exclude_none=True)} if key in papers else reproduces
    )


def paper_of(reproduces: Any) -> Paper | None:
    """The paper that a run's `reproduces` names: the one it carries, this package's, or one known by its key alone."""
    if not isinstance(reproduces, Mapping) or not reproduces.get("paper"):
        return None
    named = reproduces["paper"]
    if isinstance(named, Mapping):
        return _paper("reproduces.paper", named)
    return package_papers().get(str(named)) or Paper(
        key=str(named),
        title="a paper that this installation does not know",
        figures=dict.fromkeys(figure_numbers(reproduces.get("figure")), "what it shows is not known here"),
    )


def check_reproduces(value: Any) -> None:
    """ValueError unless `value` is None or {paper, figure, forms, variation, departs, picture}.

    `paper` is the key of a known paper (or a whole one, as `carry_paper` writes it), `figure` one of its figures or a
    list of them, `forms` some of FORMS. Optional are `variation`, in words what tells the experiment from others of the
    figure, `departs`, the settings that the paper gives and it does not follow, and `picture`, the figure of the report
    that corresponds to the paper's.
    """
    if value is None:
        return
    if not isinstance(value, Mapping) or not {"paper", "figure", "forms"} <= set(value):
        raise ValueError(f"reproduces={value}: must be null or {{paper, figure, forms, variation}}")
    unknown = sorted(set(value) - set(_KEYS))
    if unknown:
        raise ValueError(f"reproduces.{unknown[0]}={value[unknown[0]]}: unknown key (known: {', '.join(_KEYS)})")
    if not isinstance(value["paper"], Mapping) and str(value["paper"]) not in package_papers():
        known = ", ".join(package_papers())
        rule = f"must be one of {known}, or have a file paper/{value['paper']}.yaml in --config-dir"
        raise ValueError(f"reproduces.paper={value['paper']}: {rule}")
    paper = paper_of(value)
    assert paper is not None
    for figure in figure_numbers(value["figure"]):
        if figure not in paper.figures:
            raise ValueError(f"reproduces.figure={figure}: {paper.key} has the figures {', '.join(paper.figures)}")
    forms = value["forms"]
    listed = isinstance(forms, Sequence) and not isinstance(forms, str)
    if not listed or not forms or not set(forms) <= set(FORMS):
        raise ValueError(f"reproduces.forms={forms}: must list quick, paper or both")
    departures(value)
    picture = value.get("picture")
    if picture is not None and picture not in PICTURES:
        raise ValueError(f"reproduces.picture={picture}: must be a figure of the report, one of {', '.join(PICTURES)}")


def departures(reproduces: Any) -> tuple[str, ...]:
    """The settings that the paper gives and an experiment does not follow, in words; ValueError for another form."""
    departs = (reproduces.get("departs") if isinstance(reproduces, Mapping) else None) or []
    if not isinstance(departs, list | tuple) or not all(isinstance(text, str) and text for text in departs):
        raise ValueError(f"reproduces.departs={departs}: must list in words which given settings are not followed")
    return tuple(departs)


def figure_numbers(figure: Any) -> list[str]:
    """The figures that `reproduces.figure` names.

    >>> figure_numbers("2 top"), figure_numbers([7, 8])
    (['2 top'], ['7', '8'])
    """
    return [str(number) for number in figure] if isinstance(figure, list | tuple) else [str(figure)]


def _paper(where: str, content: Any, **key: str) -> Paper:
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}: must be a mapping of arxiv, title and figures")
    try:
        return Paper.model_validate({**content, **key})
    except ValidationError as error:
        (first, *_) = error.errors()
        name = ".".join(map(str, first["loc"]))
        rule = {
            "missing": "a value is needed",
            "extra_forbidden": f"unknown key (known: {', '.join(_known(first['loc']))})",
            "value_error": str(first.get("ctx", {}).get("error")),
            "literal_error": f"must be one of {first.get('ctx', {}).get('expected')}".replace("'", ""),
            "rule": _rule(first),
        }.get(first["type"], f"{first['input']} must be a text, in quotes")
        raise ValueError(f"{where}: {name}: {rule}") from None


def _known(place: Sequence[Any]) -> list[str]:
    """The keys of a paper or, below `claims`, of one of its claims."""
    return [*PaperClaim.model_fields] if len(place) > 1 else [key for key in Paper.model_fields if key != "key"]


def _rule(error: Any) -> str:
    context = error.get("ctx", {})
    return f"{context.get('key')}={context.get('value')}: {context.get('rule')}"
