"""A paper that no installation knows, with claims of its own: runs carry it with them."""

from typing import Any

from ncbench.claims.paper_claims import PaperClaim, with_standards

_STATED: dict[str, dict[str, Any]] = {
    "loss_falls": {
        "figures": ["1"],
        "place": "Figure 1",
        "says": "In most runs the loss ends below 0.2.",
        "kind": "share",
        "given": ["4 classes", "eight runs"],
        "open": ["width"],
        "standard": {"check": "share_below", "below": 0.2, "at_least": 0.5},
    },
    "all_below_srg": {
        "figures": ["1", "2"],
        "place": "Section 2",
        "says": "Every run ends below the SRG solution.",
        "kind": "share",
        "standard": {"check": "share_below", "reference": "srg", "at_least": 0.9},
    },
    "ranks": {
        "figures": ["3"],
        "place": "Figure 3",
        "says": "The ranks fall with the depth.",
        "kind": "trend",
        "given": ["depth 3 to 300"],
        "open": ["rank threshold"],
        "decided_by": "networks of 300 layers",
    },
}
PAPER: dict[str, Any] = {
    "key": "doe27",
    "arxiv": "2701.00001",
    "title": "A paper of somebody else's",
    "figures": {"1": "the loss of a small model", "2": "the SRG solution", "3": "its ranks"},
    "claims": _STATED,
}
TABLE = {name: PaperClaim.model_validate(claim) for name, claim in _STATED.items()}


def claims(*names: str, **keys: Any) -> dict[str, dict[str, Any]]:
    """Claims of the paper as a run folder has them, with their standards; all that are tested, unless some are named.

    The records of eight replicas (`run_folders.write_run`: replica i ends at 0.1 + i/100, SRG at 0.09) bear out that
    the loss falls, and not that every run ends below SRG.
    """
    expected = {"loss_falls": "holds", "all_below_srg": "fails"}
    written = {name: {"paper_claim": name, "expect": expected[name], **keys} for name in names or expected}
    composed: dict[str, dict[str, Any]] = with_standards(written, TABLE, PAPER["key"])
    return composed


def reproduces(figure: Any = "1", **keys: Any) -> dict[str, Any]:
    """What a run says of the figure it belongs to, the whole paper with it."""
    return {"paper": PAPER, "figure": figure, "forms": ["quick"], **keys}
