"""What is our own fault is raised as it is, with its traceback; what lacks memory is told from what does not."""

import pytest
from hydra.utils import instantiate

from ncbench import theory
from ncbench.models import heads
from ncbench.run.compose import compose_command
from ncbench.run.one_line_errors import lacks_memory, one_line_errors
from ncbench.run.references import check_references, evaluate_references
from ncbench.theory import deep_linear

LINE = {"name": "a", "_target_": "ncbench.theory.deep_linear.planted"}
RUN = {"loss": "mse", "activation": "relu", "reference_arguments": [{"num_classes": 10}]}
BUGS = {
    "num_classes.real_part": AttributeError,
    "{}[num_classes]": KeyError,
    "num_classes + None": TypeError,
}


def planted(module, expression, monkeypatch, arguments="num_classes"):
    """A function of ours with a bug: its code stands in a file of the package."""
    made = {}
    exec(compile(f"def planted({arguments}): return {expression}", module.__file__, "exec"), made)
    made["planted"].__module__ = module.__name__
    monkeypatch.setattr(module, "planted", made["planted"], raising=False)


@pytest.mark.parametrize("code", BUGS)
def test_a_bug_of_a_closed_form_is_no_wrong_input(code, monkeypatch):
    planted(deep_linear, code, monkeypatch)
    check_references([LINE])
    with pytest.raises(BUGS[code]):
        evaluate_references([LINE], **RUN)


def test_what_a_line_gives_is_wrong_input(monkeypatch):
    planted(deep_linear, "num_classes + other", monkeypatch, "num_classes, other")
    with pytest.raises(ValueError, match=r"references\.a: planted fails \(unsupported operand"):
        evaluate_references([{**LINE, "other": "x"}], **RUN)
    with pytest.raises(ValueError, match=r"references\.a: .* needs a value for other"):
        evaluate_references([LINE], **RUN)


def test_a_bug_at_the_import_of_a_closed_form_is_no_wrong_input(monkeypatch):
    planted(theory, "name.planted", monkeypatch, "name")
    monkeypatch.setattr("ncbench.run.references.import_module", theory.planted)
    with pytest.raises(AttributeError, match="planted"):
        check_references([LINE])


def test_a_bug_of_a_class_of_ours_is_no_wrong_input(monkeypatch):
    planted(heads, "num_classes.real_part", monkeypatch)
    config = compose_command(["+experiment=digits_mlp"], multirun=False).jobs[0].config
    with pytest.raises(Exception, match="real_part") as raised, one_line_errors(config, "model"):
        instantiate({"_target_": "ncbench.models.heads.planted", "num_classes": 3})
    assert not isinstance(raised.value, ValueError)


LACKING = {
    "DefaultCPUAllocator: can't allocate memory: you tried to allocate 80000 bytes.": "80000 bytes",
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...": "20.00 MiB",
    "[enforce fail] not enough memory: you tried to allocate 3 bytes": "3 bytes",
    "CUDA error: out of memory": "",
}


@pytest.mark.parametrize("text", LACKING)
def test_what_torch_says_of_memory(text):
    size = f" ({LACKING[text]} at once)" if LACKING[text] else ""
    assert lacks_memory(RuntimeError(text)) == f"needs more memory than this machine has{size}"


@pytest.mark.parametrize("text", ["", "std::bad_alloc", "Unable to allocate 8.00 GiB for an array with shape (9,)"])
def test_every_memory_error_is_one(text):
    size = " (8.00 GiB at once)" if "GiB" in text else ""
    assert lacks_memory(MemoryError(text)) == f"needs more memory than this machine has{size}"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("failed to allocate a socket"),
        RuntimeError("tried to allocate a port twice"),
        ValueError("out of memory"),
    ],
)
def test_other_errors_are_not_of_memory(error):
    assert lacks_memory(error) == ""
