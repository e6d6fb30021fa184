"""What configurations of perceptrons, of their data and training may hold, and what is said about mistakes."""

import copy

import pytest

from ncbench.config.validate import validate
from ncbench.run.build import build
from ncbench.run.compose import compose_jobs

PERCEPTRON = ["dataset=mixture", "model=perceptron", "objective=squared", "optimizer=lbfgs", "schedule=stationary"]


def changed(values, changes):
    """A copy with other values under dotted keys."""
    values = copy.deepcopy(values)
    for key, value in changes.items():
        *path, last = key.split(".")
        group = values
        for part in path:
            group = group[part]
        group[last] = value
    return values


@pytest.fixture(scope="module")
def stacks():
    """Values of a stack of perceptrons to stationarity, of free features, and of a network with a backbone."""
    overrides = {
        "perceptron": PERCEPTRON,
        "dufm": ["+experiment=dufm_k10"],
        "resnet": ["+experiment=cifar_resnet20", "trainer.precision=32"],
    }
    return {name: compose_jobs(given, multirun=False)[0].values for name, given in overrides.items()}


LINES = [{"name": "exists", "measure": "noise", "_target_": "ncbench.theory.rank_collapse.noise_exists"}]
ADAM, ADAMW = ({"_target_": f"torch.optim.{name}", "_partial_": True, "lr": 1e-3} for name in ("Adam", "AdamW"))
LBFGS = {"_target_": "ncbench.models.replica.LBFGS", "_partial_": True, "lr": 1.0}
LINEAR_CE = {"objective.loss": "ce", "model.activation": "linear"}
TO_STATIONARITY = {"optimizer": LBFGS, "schedule": {"kind": "stationary", "steps": 9, "stationary": 1e-9}}
WRONG = [
    # What only a perceptron has.
    ("dufm", {"schedule.stationary": 1e-8}, "schedule.stationary=1e-08: only stationary takes this key"),
    ("dufm", {"schedule.annealing": "cosine"}, "schedule.annealing=cosine: only stationary takes this key"),
    ("dufm", {"objective.loss": "squared"}, "objective.loss=squared: must be mse or ce"),
    (
        "dufm",
        {"optimizer": LBFGS, "schedule.tolerance": 1e-6},
        "schedule.tolerance=1e-06: L-BFGS stops at schedule.stationary instead",
    ),
    ("dufm", {"measure.kmeans": True}, "measure.kmeans=True is only available with model=perceptron"),
    ("dufm", {"model.activation": "tanh"}, "model.activation=tanh: must be relu or linear"),
    ("resnet", {"optimizer": LBFGS}, "optimizer=lbfgs is only available with model=dufm or perceptron"),
    ("resnet", {"measure.hessian": True}, "measure.hessian=True is only available with model=dufm"),
    ("perceptron", {"measure.hessian": True}, "measure.hessian=True is only available with model=dufm"),
    (  # H_1 50 x 21, three matrices 21 x 21, one 10 x 21
        "dufm",
        {"measure.hessian": True, "model.width": 21},
        "measure.hessian=True: at most 2400 parameters of a replica, this network has 2583",
    ),
    (  # H_1 50 x 30, matrices 20 x 30, 20 x 20, 20 x 20, 10 x 20
        "dufm",
        {"measure.hessian": True, "model.width": [30, 20, 20, 20]},
        "measure.hessian=True: at most 2400 parameters of a replica, this network has 3100",
    ),
    ("resnet", {"measure.kmeans": True}, "measure.kmeans=True is only available with model=perceptron"),
    ("resnet", {"objective.loss": "squared"}, "objective.loss=squared: must be mse or ce"),
    (
        "resnet",
        {"schedule.warm_steps": 5},
        "schedule.warm_steps=5: only stationary takes this key; schedule.kind=cosine takes T_max",
    ),
    *(
        ("dufm", {"replicate": {axis: [0.1]}}, f"replicate={axis}: unknown axis, must be one of seed, weight_decay")
        for axis in ("delta", "noise", "noise_ratio", "centroids")
    ),
    # What a perceptron has not.
    ("perceptron", {"objective.loss": "mse"}, "objective.loss=mse: objective=squared has loss=squared only"),
    (
        "perceptron",
        {"objective.weight_decay": [1e-3] * 4},
        r"objective.weight_decay=\[0.001, 0.001, 0.001, 0.001\]: model=perceptron takes one number",
    ),
    ("perceptron", {"schedule.tolerance": 1e-8}, "schedule.tolerance=1e-08: only full_batch takes this key"),
    ("perceptron", {"schedule.steps": None, "trainer.max_epochs": 3}, "schedule.steps=None: must be a whole number"),
    (
        "perceptron",
        {"measure.per_class": 3},
        "measure.per_class=3: full-batch problems are measured whole; leave it null",
    ),
    ("perceptron", {"measure.splits": ["train", "test"]}, "full-batch problems have a training split only"),
    ("perceptron", {"schedule.annealing": "cosine"}, "schedule.annealing=cosine: L-BFGS has no rate to anneal"),
    ("perceptron", {"replicate": {"lr": [0.1]}}, "replicate=lr: unknown axis, must be one of seed, weight_decay"),
    ("perceptron", {"replicate": {"feature_decay": [0.1]}}, "replicate=feature_decay: unknown axis"),
    ("perceptron", {"model.start": "dnc"}, "model.start=dnc: only free_features takes this key"),
    ("perceptron", {"optimizer": ADAMW, "references": LINES}, "optimizer=adamw: decoupled decay has other stationary"),
    ("perceptron", {"optimizer": ADAMW}, "optimizer=adamw: would decay once more what the objective decays already"),
    ("dufm", {"model.init_rule": "xavier"}, "model.init_rule=xavier: must be fan_in or entry"),
    ("dufm", {"objective.warm_decay": 1e-3}, "objective.warm_decay=0.001: only squared takes this key"),
    ("dufm", {"objective.delta": 0.5}, "objective.delta=0.5: only squared takes this key"),
    ("dufm", {"schedule.warm_steps": 5}, "schedule.warm_steps=5: only stationary takes this key"),
    (
        "perceptron",
        {"replicate": {"start": ["dnc"]}},
        "replicate=start: unknown axis, must be one of",
    ),
    # Starts.
    ("dufm", {"model.start": "pairs"}, r"model.start=pairs: the solutions are those of loss=mse with .*\(dnc, srg\)"),
    ("dufm", {"model.start": "dnc", "model.activation": "linear"}, "model.start=dnc: the solutions are those of loss"),
    ("dufm", {**LINEAR_CE, "model.start": "srg"}, "model.start=srg: the solutions are those of loss=mse with"),
    ("dufm", {**LINEAR_CE, "model.start": "[3, x]"}, r"model.start=\[3, x\]: .* simplex blocks as a text, such as '\["),
    ("dufm", {**LINEAR_CE, "model.start": "[3, 0]"}, r"model.start=\[3, 0\]: the solutions are those of loss=mse"),
    ("dufm", {**LINEAR_CE, "replicate": {"start": ["dnc", [6, 4]]}}, r"replicate.start=\[6, 4\]: the solutions are"),
    ("dufm", {**LINEAR_CE, "replicate": {"start": ["dnc", None]}}, "replicate.start=None: the solutions are those"),
    (
        "dufm",
        {**LINEAR_CE, "replicate": {"start": ["[8, 2]", "[8,2]"]}},
        r"replicate.start=\['\[8, 2\]', '\[8,2\]'\]: must not hold the same start twice",
    ),
    ("dufm", {"replicate": {"start": "dnc"}}, "replicate.start=dnc: must be a list"),
    ("dufm", {"replicate": {"start": []}}, r"replicate.start=\[\]: must be a list"),
    (
        "dufm",
        {"replicate": {"start_noise": [0.1]}},
        r"replicate.start_noise=\[0.1\]: is added to a solution; set model",
    ),
    ("dufm", {"model.start_noise": 0.1}, "model.start_noise=0.1: is added to a solution; set model.start or"),
    (
        "dufm",
        {"model.start": "dnc", "replicate": {"start_noise": [0.1, -0.1]}},
        "replicate.start_noise=-0.1: must be a number >= 0",
    ),
    # Groups that do not go together.
    (
        "dufm",
        {"schedule": {"kind": "stationary", "steps": 9, "annealing": "cosine"}},
        "schedule.annealing=cosine is only available with model=perceptron",
    ),
    (
        "dufm",
        {"schedule": {"kind": "stationary", "steps": 9, "warm_steps": 3}},
        "schedule.warm_steps=3 is only available with model=perceptron",
    ),
    ("dufm", {"schedule": {"kind": "constant"}, "replicate": {}}, "trainer.max_epochs=None: must be >= 1"),
    (
        "resnet",
        {"schedule": {"kind": "full_batch", "steps": 9}},
        "trainer.max_epochs=200: full-batch problems are boun",
    ),
    (
        "resnet",
        {"schedule": {"kind": "full_batch", "steps": 9}, "trainer.max_epochs": None},
        "schedule.kind=full_batch does not go with model.kind=backbone, which needs a schedule in epochs",
    ),
    (
        "dufm",
        {"objective": {"kind": "squared", "_target_": "ncbench.training.PerceptronModule", "weight_decay": 1e-3}},
        "objective.kind=squared is not what model.kind=free_features is trained for, which is objective.kind=full_",
    ),
    (
        "perceptron",
        {"schedule": {"kind": "full_batch", "steps": 9, "tolerance": 1e-3}},
        "schedule.tolerance=0.001: model=perceptron stops at schedule.stationary instead",
    ),
    # Ranges.
    ("perceptron", {"schedule.stationary": 0.0}, "schedule.stationary=0.0: must be > 0 or null"),
    ("perceptron", {"schedule.annealing": "linear"}, "schedule.annealing=linear: must be cosine or null"),
    (
        "perceptron",
        {"objective.warm_decay": 1e-3},
        "objective.warm_decay=0.001: needs schedule.warm_steps, and schedule.warm_steps needs it",
    ),
    (
        "perceptron",
        {"schedule.warm_steps": 5},
        "objective.warm_decay=None: needs schedule.warm_steps, and schedule.warm_steps needs it",
    ),
    (
        "perceptron",
        {"schedule.warm_steps": 20000},
        r"schedule.warm_steps=20000: must be in \[1, schedule.steps=20000\)",
    ),
    ("perceptron", {"objective.warm_decay": 0.0}, "objective.warm_decay=0.0: must be > 0 or null"),
    ("perceptron", {"objective.delta": -1.0}, "objective.delta=-1.0: must be a number >= 0"),
    ("perceptron", {"objective.delta": [1.0, 2.0]}, r"objective.delta=\[1.0, 2.0\]: must be a number"),
    ("perceptron", {"optimizer.memory": 0}, "optimizer.memory=0: must be >= 1"),
    ("perceptron", {"model.activation": "gelu"}, "model.activation=gelu: must be relu, linear, tanh or leaky_relu"),
    ("perceptron", {"model.first_activation": "gelu"}, "model.first_activation=gelu: must be relu, linear, tanh or"),
    ("perceptron", {"model.width": [16] * 4}, r"one width, or one for each hidden layer \(3\)"),
    (
        "perceptron",
        {"model.width": [16, 12, 16], "model.residual": True},
        r"model.width=\[16, 12, 16\]: residual layers need equal widths",
    ),
    ("perceptron", {"dataset.classes": 1}, "dataset.classes=1: must be >= 2"),
    ("perceptron", {"dataset.num_samples": 1}, "dataset.num_samples=1: must be >= 2"),
    ("perceptron", {"dataset.dimension": 0}, "dataset.dimension=0: must be >= 1"),
    ("perceptron", {"dataset.noise": -0.1}, "dataset.noise=-0.1: must be >= 0"),
    ("perceptron", {"dataset.radius": 0.0}, "dataset.radius=0.0: must be > 0"),
    ("perceptron", {"dataset.targets": "means"}, "dataset.targets=means: must be inputs or labels"),
    # Axes.
    (
        "perceptron",
        {"replicate": {"noise": [0.1], "noise_ratio": [1.0]}},
        r"replicate.noise_ratio=\[1.0\]: give either noise_ratio or noise, not both",
    ),
    ("perceptron", {"replicate": {"centroids": [0, 1]}}, r"replicate.centroids=\[0, 1\]: must be a list of false and"),
    ("perceptron", {"replicate": {"centroids": True}}, "replicate.centroids=True: must be a list"),
    ("perceptron", {"replicate": {"delta": []}}, r"replicate.delta=\[\]: must be a list"),
    ("perceptron", {"replicate": {"noise": [0.1, -0.1]}}, "replicate.noise=-0.1: must be a number >= 0"),
    ("perceptron", {"replicate": {"init_scale": [1.0, 0.0]}}, "replicate.init_scale=.*: must be numbers > 0"),
]


@pytest.mark.parametrize(("kind", "changes", "message"), WRONG)
def test_one_line_per_mistake_with_stacks_of_perceptrons(stacks, kind, changes, message):
    with pytest.raises(ValueError, match=message) as caught:
        validate(changed(stacks[kind], changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": ADAM, "schedule.annealing": "cosine"},
        {"schedule.warm_steps": 5, "objective.warm_decay": 1e-3},
        {"model.width": [16, 12, 8]},
        {"model.depth": 1, "model.width": []},
        {"model.width": [16] * 3, "model.residual": True},
        {"dataset.classes": 20, "model.width": 4},  # a bottleneck is no mistake here
        {"measure.kmeans": True, "schedule.stationary": None},
        {"replicate": {"seed": 2, "delta": [0.0, 1.0], "noise_ratio": [1.0], "centroids": [False, True]}},
    ],
)
def test_what_a_stack_of_perceptrons_may_have(stacks, changes):
    assert validate(changed(stacks["perceptron"], changes)).model.on_inputs


@pytest.mark.parametrize(
    "changes",
    [
        {"model.start": "srg", "replicate": {"start": ["dnc", "srg"], "start_noise": [0, 0.1]}},
        {"measure.hessian": True, "model.width": 20},  # 50 x 20 + 3 x 20 x 20 + 10 x 20 = 2400 parameters
        {**LINEAR_CE, "model.start": "[6,4]", "replicate": {"start_noise": [0.5, 1]}, **TO_STATIONARITY},
        {**LINEAR_CE, "model.start_noise": 0.5, "replicate": {"start": ["pairs", "polygon", "triangular", "[10]"]}},
    ],
)
def test_where_free_features_may_start_and_that_they_may_go_on_to_stationarity(stacks, changes):
    assert not validate(changed(stacks["dufm"], changes)).model.on_inputs


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=labels"], "model=perceptron: needs a dataset with inputs, such as mixture"),
        (["dataset.num_samples=201"], r"^dataset.num_samples=201 must be a multiple of the number of classes \(5\)"),
        (
            ["dataset=random_points", "dataset.dimension=19"],
            "^dataset.dimension=19 must be at least 20, as 20 inputs are to be orthonormal",
        ),
        (
            ["dataset=random_points", "+replicate.noise=[0.1]"],
            r"^replicate.noise=\[0.1\] must be None, as this dataset has no noise",
        ),
    ],
)
def test_one_line_where_the_data_do_not_fit(overrides, message):
    (job,) = compose_jobs([*PERCEPTRON, *overrides], multirun=False)
    with pytest.raises(ValueError, match=message) as caught:
        build(job.config)
    assert "\n" not in str(caught.value)
