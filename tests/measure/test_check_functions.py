"""A user's own measures that can never work are refused before anything is trained; others are left alone."""

from functools import partial

import pytest
import torch

from ncbench import core
from ncbench.measure import MeasureCollapse
from ncbench.measure.check_functions import check_functions
from ncbench.models.replica import DUFM
from ncbench.train import main

K = 3
BATCHES = [(torch.randn(6, 5), torch.arange(K).repeat(2))]


def refused(**functions):
    """The message of the refusal, which is one line."""
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the callers compare the text
        MeasureCollapse(["0"], BATCHES, K, **functions)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (core.nc1, "on random features it fails (the full scatter is needed"),
        (core.separation_fuzziness, "on random features it fails (the full scatter is needed"),
        (core.soft_rank, "on random features it fails"),  # a function of a matrix
        (core.rounding_floor, "on random features it needs a value for"),
        (lambda moments: moments.means, "its result has the shape (3, 64) and not ()"),
        (lambda moments: moments.class_variances, "its result has the shape (3,) and not ()"),
        (lambda moments: (core.cdnv(moments), 1), "its result is of type tuple and not a tensor"),
        (lambda moments: core.cdnv(moments).item(), "its result is of type float and not a tensor"),
    ],
)
def test_what_does_not_take_moments_or_gives_no_number_is_refused(function, reason):
    message = refused(moments={"mine": function})
    assert message.startswith("moments=mine must be a function of ClassMoments (with scatter='trace') that gives one")
    assert reason in message
    known = getattr(function, "__name__", "")
    if known in ("nc1", "separation_fuzziness"):
        assert message.endswith(f"; {known} is asked for by name, measures=[{known}]")
    elif known == "soft_rank":
        assert message.endswith("; it takes a matrix, so give it under matrices")
    else:
        assert message.endswith(
            "; nc1, separation_fuzziness, ncc_accuracy, ncc_mismatch need a second pass over the data "
            "and are asked for by name, in measures"
        )


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (core.cdnv, "'means'); cdnv is asked for by name, measures=[cdnv]"),
        (core.scatter_ratio, "'means'); it takes class moments, so give it under moments"),
        (lambda M: M.mean(-1), "its result has the shape (1, 64) and not (1,)"),
        (lambda M: M.shape, "its result is of type Size and not a tensor"),
        (core.singular_values, "its result has the shape (1, 64) and not (1,)"),
    ],
)
def test_what_does_not_take_a_matrix_or_gives_no_number_is_refused(function, reason):
    message = refused(matrices={"mine": function})
    assert message.startswith("matrices=mine must be a function of a matrix (with leading axes) that gives one number")
    assert reason in message


def needs_width_seven(moments):
    return moments.means.view(K, 7).sum()  # torch's RuntimeError at any other width


def needs_index_hundred(M):
    return core.singular_value(M, 100)  # a ValueError for smaller matrices


def test_what_works_or_depends_on_the_size_of_a_layer_is_left_alone():
    moments = {
        "cdnv": core.cdnv,
        "free": partial(core.total_cluster_variation, scale_free=True),
        "7": needs_width_seven,
    }
    matrices = {"soft_rank": core.soft_rank, "nuclear": lambda M: core.schatten(M, 1), "100": needs_index_hundred}
    MeasureCollapse(["0"], BATCHES, K, moments=moments, matrices=matrices)


def test_a_network_with_replicas_needs_one_number_for_each_of_them():
    model = DUFM(depth=2, width=4, activation="relu", init_scale=1.0, num_classes=K, num_samples=6, seeds=[0, 1])
    make = partial(MeasureCollapse, ["head.1"], [(torch.arange(6), torch.arange(K).repeat(2))], K, module=model)
    make(moments={"cdnv": core.cdnv})
    with pytest.raises(ValueError, match=r"moments=sum must be .* its result has the shape \(\) and not \(2,\)"):
        make(moments={"sum": lambda moments: moments.means.sum()})
    with pytest.raises(ValueError, match=r"matrices=sum must be .* its result has the shape \(\) and not \(2,\)"):
        make(matrices={"sum": torch.sum})


@pytest.mark.parametrize("kind", ["moments", "matrices"])
@pytest.mark.parametrize("name", ["dnc1", "dnc2", "rank", "norm"])
def test_the_names_of_what_is_always_there_are_taken(kind, name):
    assert refused(**{kind: {name: lambda x: x}}) == (
        f"{kind}={name}: {name} is the name of a measure that is always there; choose another"
    )


def test_the_functions_of_class_means_are_asked_for_by_name():
    for function in (core.etf_error, core.equinorm, core.equiangularity, core.orthogonal_frame_error):
        name = function.__name__
        assert refused(moments={"mine": function}).endswith(f"; {name} is asked for by name, measures=[{name}]")


def test_no_random_generator_is_touched():
    before = torch.get_rng_state()
    MeasureCollapse(["0"], BATCHES, K, moments={"cdnv": core.cdnv}, matrices={"soft_rank": core.soft_rank})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "override", ["moments.mine._target_=ncbench.core.nc1", "matrices.mine._target_=ncbench.core.cdnv"]
)
def test_a_run_is_refused_before_it_leaves_anything(tmp_path, capsys, override):
    folder = tmp_path / "run"
    assert main([f"+measure.{override}", "trainer.progress=false", f"hydra.run.dir={folder}"]) == 2
    error = capsys.readouterr().err
    assert f"{override.partition('.')[0]}=mine must be a function of" in error
    assert error.count("\n") == 1
    assert not folder.exists()


def test_a_function_that_does_not_take_this_number_of_classes_is_no_wrong_function():
    for K in (2, 7):
        rule = (
            rf"^moments=srg cannot be measured on data of {K} classes, as it can of 10: .* got {K} classes\); leave it"
        )
        with pytest.raises(ValueError, match=rule):
            check_functions({"srg": core.triangular_gram_error}, {}, K)
    check_functions({"srg": core.triangular_gram_error}, {}, 6, has_replica_axis=True)
