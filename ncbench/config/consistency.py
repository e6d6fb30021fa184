"""The rules between the groups of a configuration: which model goes with which objective, schedule and optimiser."""

from typing import TYPE_CHECKING

from ncbench.config.free_features import check_free_features
from ncbench.config.models import FreeFeatures
from ncbench.config.rules import is_int, is_list, only_with, require, require_decays
from ncbench.config.schedules import Cosine, FullBatch, Stationary
from ncbench.config.training import ClassifierObjective, SquaredObjective

if TYPE_CHECKING:
    from ncbench.config.root import Config

__all__ = ["check_consistency"]

_OF_ALL = ("seed", "weight_decay", "init_scale")
_OF_FREE_FEATURES = (*_OF_ALL, "decay", "feature_decay", "lr", "start", "start_noise")
_OF_PERCEPTRONS = (*_OF_ALL, "delta", "noise", "noise_ratio", "centroids")


def check_consistency(config: "Config") -> None:
    """ValueError of one line where two groups do not go together."""
    _check_replicate(config)
    _check_length(config)
    _check_precision(config)
    _check_processes(config)
    _check_engine(config)
    _check_mini_batches(config)
    if config.references and config.optimizer.decoupled:
        raise ValueError(
            "optimizer=adamw: decoupled decay has other stationary points than the objective, so no theory line "
            "may be drawn; use optimizer=sgd, or references=[] to train without the lines"
        )
    imbalance = getattr(config.dataset, "imbalance", None)
    rule = "the theory lines are those of equal classes; use references=[] to train without the lines"
    require(not config.references or imbalance in (None, 1), "dataset.imbalance", imbalance, rule)
    _check_width(config)
    _check_pairs(config)
    if config.model.on_inputs:
        _check_perceptron(config)
    _check_decays(config)


def _check_replicate(config: "Config") -> None:
    known = _OF_PERCEPTRONS if config.model.on_inputs else _OF_FREE_FEATURES
    for axis, value in config.replicate.items():
        key = f"replicate.{axis}"
        require(axis in known, "replicate", axis, f"unknown axis, must be one of {', '.join(known)}")
        if axis == "seed":
            require(is_int(value) and value >= 1, key, value, "must be a number of seeds >= 1")
            continue
        require(is_list(value) and len(value) > 0, key, value, "must be a list")
        if axis == "centroids":
            switches = all(isinstance(switch, bool) for switch in value)
            require(switches, key, list(value), "must be a list of false and true")
            continue
        if axis == "start":
            continue  # _check_starts has the rule
        require_decays(key, value)
        if axis in ("init_scale", "lr"):
            require(min(value) > 0, key, list(value), "must be numbers > 0")
        if axis == "decay":
            rule = "sets the decay of every matrix and of the features; leave out weight_decay and feature_decay"
            require(not {"weight_decay", "feature_decay"} & set(config.replicate), key, value, rule)
        if axis == "noise_ratio":
            require("noise" not in config.replicate, key, list(value), "give either noise_ratio or noise, not both")
        if axis == "lr":
            rule = "several rates in one ensemble need optimizer=gd or heavy_ball; use -m for a grid of jobs"
            require(config.optimizer.rates_of_replicas, key, list(value), rule)
    rule = "only full-batch problems (schedule=full_batch) train ensembles of replicas; use -m for a grid of jobs"
    require(config.schedule.full_batch or not config.replicate, "replicate", dict(config.replicate), rule)


def _check_length(config: "Config") -> None:
    epochs, full_batch = config.trainer.max_epochs, config.schedule.full_batch
    rule = "full-batch problems are bounded by schedule.steps; leave it null"
    require(not full_batch or epochs is None, "trainer.max_epochs", epochs, rule)
    rule = "must be >= 1 where there is no schedule.steps"
    require(full_batch or epochs is not None, "trainer.max_epochs", epochs, rule)
    if isinstance(config.schedule, Cosine):
        require(config.schedule.T_max is not None, "schedule.T_max", None, "must be a number of epochs >= 1")


def _check_processes(config: "Config") -> None:
    devices, dataset = config.trainer.devices, config.dataset
    if devices == 1:
        return
    rule = "full-batch problems train in one process, with threads; use -m for a grid of jobs"
    require(not config.schedule.full_batch, "trainer.devices", devices, rule)
    batch = getattr(dataset, "batch_size", None)
    rule = f"a batch of dataset.batch_size={batch} cannot be shared by more processes than it has samples"
    require(batch is None or batch >= devices, "trainer.devices", devices, rule)


def _check_engine(config: "Config") -> None:
    trainer, engine = config.trainer, "trainer.engine"
    if trainer.engine == "lanes":
        free = isinstance(config.model, FreeFeatures) and config.schedule.full_batch
        require(free, engine, "lanes", "trains free features (model=dufm) only; use auto")
        require(config.optimizer.rates_of_replicas, engine, "lanes", "needs optimizer=gd or heavy_ball; use auto")
        rule = f"is an engine of the CPU, not of trainer.accelerator={trainer.accelerator}; use auto"
        require(trainer.accelerator in ("auto", "cpu"), engine, "lanes", rule)


def _check_precision(config: "Config") -> None:
    precision = config.trainer.precision
    rule = "only networks in mini-batches have mixed precision; full-batch problems take 32 or 64"
    require(precision != "bf16-mixed" or not config.schedule.full_batch, "trainer.precision", precision, rule)


def _check_mini_batches(config: "Config") -> None:
    """What only networks in mini-batches have."""
    trainer = config.trainer
    if config.schedule.full_batch:
        rule = "only networks in mini-batches have it; full-batch problems have an engine of their own"
        require(not trainer.compile, "trainer.compile", trainer.compile, rule)
        require(not trainer.cuda_graph, "trainer.cuda_graph", trainer.cuda_graph, rule)
        require(trainer.fused is None, "trainer.fused", trainer.fused, rule)
        require(trainer.micro_batch is None, "trainer.micro_batch", trainer.micro_batch, rule)
        rule = "only networks in mini-batches keep them; full-batch problems keep their last two"
        require(not trainer.keep_checkpoints, "trainer.keep_checkpoints", list(trainer.keep_checkpoints), rule)
        return
    rule = "one graph is a step of one process on a whole batch; leave trainer.{} {}"
    for key, plain in (("devices", 1), ("micro_batch", None), ("compile", False)):
        alone = getattr(trainer, key) == plain
        require(not trainer.cuda_graph or alone, "trainer.cuda_graph", True, rule.format(key, str(plain).lower()))
    kept, last = list(trainer.keep_checkpoints), trainer.max_epochs
    rule = f"must be epochs up to trainer.max_epochs={last}"
    require(not kept or last is None or kept[-1] <= last, "trainer.keep_checkpoints", kept, rule)
    rule = "the micro-batches of one batch are taken one after another by one process; leave trainer.devices 1"
    require(trainer.micro_batch is None or trainer.devices == 1, "trainer.micro_batch", trainer.micro_batch, rule)


def _check_width(config: "Config") -> None:
    classes, width = config.dataset.known_classes, config.model.width
    if classes is not None and not config.model.on_inputs:
        rule = f"the head needs width >= number of classes ({classes})"
        last = width[-1] if is_list(width) else width
        require(config.model.depth == 1 or last >= classes, "model.width", width, rule)


def _check_pairs(config: "Config") -> None:
    """A kind of model has its kind of objective and of schedule."""
    model, objective, schedule = config.model, config.objective, config.schedule
    only_with("model=dufm or perceptron", model.full_batch or not config.optimizer.line_search, "optimizer", "lbfgs")
    if isinstance(schedule, Stationary):
        for key in ("warm_steps", "annealing"):
            value = getattr(schedule, key)
            only_with("model=perceptron", model.on_inputs or value is None, f"schedule.{key}", value)
    only_with("model=perceptron", model.on_inputs or not config.measure.kmeans, "measure.kmeans", config.measure.kmeans)
    only_with("model=dufm", isinstance(model, FreeFeatures) or not config.measure.hessian, "measure.hessian", True)
    rule = f"is not what model.kind={model.KIND} is trained for, which is objective.kind={model.OBJECTIVE}"
    if objective.KIND != model.OBJECTIVE:
        raise ValueError(f"objective.kind={objective.KIND} {rule}")
    if model.full_batch != schedule.full_batch:
        needed = "schedule=full_batch" if model.full_batch else "a schedule in epochs, such as cosine or constant"
        raise ValueError(
            f"schedule.kind={schedule.KIND} does not go with model.kind={model.KIND}, which needs {needed}"
        )
    if isinstance(model, FreeFeatures):
        tolerance = schedule.tolerance if isinstance(schedule, FullBatch) and config.optimizer.line_search else None
        rule = "L-BFGS stops at schedule.stationary instead (schedule=stationary)"
        require(tolerance is None, "schedule.tolerance", tolerance, rule)
        check_free_features(config, model)


def _check_perceptron(config: "Config") -> None:
    """What fully connected networks on the data have not."""
    objective, schedule, optimizer = config.objective, config.schedule, config.optimizer
    decay = objective.weight_decay
    rule = "model=perceptron takes one number; objective.delta is the factor of the first layer"
    require(not is_list(decay), "objective.weight_decay", decay, rule)
    if isinstance(schedule, FullBatch):
        rule = "model=perceptron stops at schedule.stationary instead (schedule=stationary)"
        require(schedule.tolerance is None, "schedule.tolerance", schedule.tolerance, rule)
    warm_steps = schedule.warm_steps if isinstance(schedule, Stationary) else None
    warm_decay = objective.warm_decay if isinstance(objective, SquaredObjective) else None
    both = (warm_decay is None) == (warm_steps is None)
    require(both, "objective.warm_decay", warm_decay, "needs schedule.warm_steps, and schedule.warm_steps needs it")
    rule = "would decay once more what the objective decays already; use adam"
    require(not optimizer.decoupled, "optimizer", "adamw", rule)
    annealing = schedule.annealing if isinstance(schedule, Stationary) else None
    rule = "L-BFGS has no rate to anneal"
    require(not optimizer.line_search or annealing is None, "schedule.annealing", annealing, rule)
    per_class = config.measure.per_class
    require(per_class is None, "measure.per_class", per_class, "full-batch problems are measured whole; leave it null")
    splits = list(config.measure.splits)
    require(splits == ["train"], "measure.splits", splits, "full-batch problems have a training split only")


def _check_decays(config: "Config") -> None:
    decay = config.objective.weight_decay
    if is_list(decay):
        rule = f"one number, or one per weight matrix ({config.model.depth})"
        require(len(decay) == config.model.depth, "objective.weight_decay", list(decay), rule)
        standard = isinstance(config.objective, ClassifierObjective) and config.objective.regulariser == "standard"
        rule = "the standard regulariser has one decay for every parameter"
        require(not standard, "objective.weight_decay", list(decay), rule)
