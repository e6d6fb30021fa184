"""The objects of a run from its configuration: data, network, LightningModule; and a finished run's objects again."""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.utils import instantiate

from ncbench.config.datasets import DATASETS
from ncbench.config.measuring import SHOWN_BY_REPORT
from ncbench.config.models import Backbone, Network
from ncbench.config.root import Config
from ncbench.config.trusted import check_trust, read_recorded
from ncbench.config.variants import Target, choose_variant, keys_of
from ncbench.data.adopt import as_run_data
from ncbench.data.draws import drawing
from ncbench.measure import Calls, LayerHooks, find_classifier, log_spaced
from ncbench.models import whole_network
from ncbench.records.finished import check_records
from ncbench.records.folder import RunFolder, read_config
from ncbench.records.layers import input_of, measured_by_default
from ncbench.records.schema import CHECKPOINTS, CONFIG, RECORDED_BY
from ncbench.run.checks import check_batch_sizes, check_inputs, check_training_outputs, trial_samples
from ncbench.run.current_folder import importable_here, installed_modules_only
from ncbench.run.ensembles import RunObjects, free_features, perceptrons, replica_table
from ncbench.run.feature_start import center_features, first_samples
from ncbench.run.one_line_errors import one_line_errors
from ncbench.run.optimizer_trial import try_optimizer, try_parameters
from ncbench.training.checkpoints import check_whole, usable_checkpoint

__all__ = ["build", "load_run", "measured_layers", "own_measures"]

MOST_UNEQUAL = 1.25  # largest class over smallest with which theory lines are drawn: 1.24 of MNIST

# Lightning 2.6 calls a function that torch 2.15 deprecates, on every start.
warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated", module="pytorch_lightning")
# L-BFGS on an ensemble keeps its own state.
warnings.filterwarnings("ignore", message=r".*configure_optimizers. returned .None.", module="pytorch_lightning")


def build(config: Config, to_train: bool = True) -> RunObjects:
    """Data, network and LightningModule of a configuration; ValueError (one line) for what the user can mend.

    What only a training would suffer from, such as an optimiser that leaves the decay out, is let through where there
    will be none.
    """
    dtype = torch.float64 if config.trainer.precision == "64" else torch.float32
    if to_train:
        try_optimizer(config)
    # Whatever the making of a user's data draws is the same in a resumed run, and whatever the seed of the run.
    with one_line_errors(config, "dataset"), drawing(0):
        data = as_run_data(instantiate(config.dataset.arguments(), _convert_="all"))
        data.prepare_data()
        data.setup()
        _check_balance(config, data)
    with one_line_errors(config, "model", "objective", "dataset"):
        ensemble = perceptrons if config.model.on_inputs else free_features
        make = ensemble if config.model.full_batch else _classifier
        built = make(config, data, replica_table(config), dtype)
    with one_line_errors(config, "measure"):
        LayerHooks(built.network, measured_layers(config, built.module)).weights()
    if to_train and not config.model.full_batch:
        try_parameters(config, built.module)
    return built


def measured_layers(config: Config, module: pl.LightningModule) -> list[str]:
    """The layers asked for; else the features and every layer of the head, or a classifier and its input."""
    asked, model = config.measure.layers, config.model
    if asked is not None:
        return list(asked)
    if not isinstance(model, Network):
        return measured_by_default(model.depth)
    classifier = str(module.classifier)  # known where no layers are asked for
    return [input_of(classifier), classifier]


def own_measures(config: Config) -> dict[str, dict[str, Any]]:
    """The functions of `measure.moments` and `measure.matrices`, by their kind and name."""
    made: dict[str, dict[str, Any]] = {"moments": {}, "matrices": {}}
    for kind, functions in made.items():
        for name, spec in getattr(config.measure, kind).items():
            arguments = {key: value for key, value in spec.items() if key not in SHOWN_BY_REPORT}
            with one_line_errors(config, f"measure.{kind}.{name}"):
                functions[name] = instantiate({**arguments, "_partial_": True})
    return made


def load_run(
    folder: str | Path, *, dataset_root: str | Path | None = None, trust: Sequence[str] = ()
) -> tuple[pl.LightningModule, Any, Config]:
    """The module with its last checkpoint's weights, its data, and the configuration of a run folder.

    `folder` may also name a checkpoint file inside a run folder, whose weights are then taken. An ensemble of one
    replica comes with its network as ordinary nn.Linear modules. The configuration is without the claims.
    `dataset_root` is where the data lies on this machine, if not where the run had it (`dataset.root`). The folder may
    be somebody else's: of classes and functions its config.yaml may name those of `ncbench.config.trusted`, and those
    of the packages in `trust`, such as ("mynet",). Raises ValueError where it names others, where there is no run, no
    usable checkpoint, or one of another network, and for a folder with damaged records; a checkpoint that is named
    itself is taken all the same.
    """
    path = Path(folder)
    run = next((p for p in path.resolve().parents if (p / CONFIG).is_file()), path) if path.is_file() else path
    if not (run / CONFIG).is_file():
        raise ValueError(f"{path}: holds no run (no {CONFIG})")
    recorded_by = RunFolder(run).info().get(RECORDED_BY)
    if recorded_by:
        raise ValueError(
            f"{path}: {recorded_by} has recorded it from a network of your own, which cannot be built from the folder; "
            "measure the network itself, with ncbench.measure_network"
        )
    values = read_config(run)
    if dataset_root is not None:
        dataset: Any = values.get("dataset") or {}
        if "root" not in keys_of(choose_variant("dataset", DATASETS, dataset)):
            raise ValueError(f"dataset_root={dataset_root}: data of your own lies where its own arguments say")
        values = {**values, "dataset": {**dataset, "root": str(dataset_root)}}
    packages = check_trust(trust)
    if path.is_dir():
        check_records(run)
    config = read_recorded(values, packages)
    with installed_modules_only(not packages):
        importable_here()
        built = build(config, to_train=False)
    if path.is_file():
        _load(built.module, path, run)
    elif usable_checkpoint(run / CHECKPOINTS, built.module.load_state_dict) is None:
        raise ValueError(f"{path}: holds no usable checkpoint")
    if config.model.full_batch and built.network.replicas == 1:
        built.module.network = built.network.as_linear()  # type: ignore[operator]
    return built.module, built.data, config


def _load(module: pl.LightningModule, checkpoint: Path, run: Path) -> None:
    if checkpoint.suffix == ".ckpt":
        check_whole(checkpoint)
    try:
        module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    except Exception as error:  # somebody's bytes may break the reader in any way
        raise ValueError(f"{checkpoint}: not a checkpoint of the run in {run}") from error


def _check_balance(config: Config, data: Any) -> None:
    """ValueError of one line where theory lines, which are of equal classes, would be drawn for very unequal ones."""
    counts = getattr(getattr(data, "train", None), "counts", None)
    if config.references and counts and max(counts) > MOST_UNEQUAL * min(counts):
        raise ValueError(
            f"references={[line['name'] for line in config.references]}: the theory lines are those of equal classes, "
            f"and the classes of this dataset have {min(counts)} to {max(counts)} samples; use references=[] to train "
            "without the lines"
        )


def _classifier(config: Config, data: Any, replicas: list[dict[str, Any]], dtype: torch.dtype) -> RunObjects:
    epochs, schedule = config.trainer.max_epochs, config.schedule
    assert epochs is not None
    data.order_seed = config.seed
    of_data = {"input_shape": data.input_shape, "num_classes": data.num_classes, "seed": config.seed}
    of_whole: dict[str, Any] = {}
    samples = trial_samples(data)
    with drawing(config.seed):  # a class of the user's may draw from NumPy or Python
        if isinstance(config.model, Network):
            network, classifier = _whole(config, config.model, {**of_data, "samples": samples})
            of_whole = {"whole": True, "classifier": classifier}
        else:
            network = instantiate(config.model.arguments(), **of_data)
            check_inputs(config, network, samples)
    _in_precision(network, dtype)
    check_batch_sizes(config, network, data, samples)
    if isinstance(config.model, Backbone) and config.model.init_feature_variance is not None:
        samples = first_samples(data).to(dtype)
        center_features(network.get_submodule("features"), samples, config.model.init_feature_variance)
    module = instantiate(
        config.objective.arguments(),
        network=network,
        **of_whole,
        num_samples=len(data.train),
        optimizer=instantiate(config.optimizer.arguments()),
        scheduler=instantiate(schedule.arguments()) if isinstance(schedule, Target) else None,
        _convert_="all",
    )
    return RunObjects(module, data, network, replicas, log_spaced(epochs, config.measure.points), epochs)


def _in_precision(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast what is floating-point; what is complex stays so: `network.to(dtype)` would drop its imaginary part."""
    if dtype == torch.float64:
        network.double()
    else:
        network.float()
    for x in (*network.parameters(), *network.buffers()):
        if x.is_complex():
            x.data = x.data.to(dtype.to_complex())


def _whole(config: Config, model: Network, of_data: Mapping[str, Any]) -> tuple[torch.nn.Module, str | None]:
    """A network of the user's and the name of its classifier; None where it has none and nothing asks for it."""
    make, calls = partial(instantiate, {**model.arguments(), "_partial_": True}), Calls()
    network = whole_network(make, from_data=model.from_data, watch=calls.watched, **of_data)
    check_training_outputs(network, of_data["samples"], of_data["num_classes"])
    try:
        classifier = find_classifier(network, of_data["num_classes"], calls, model.classifier)
        if (times := calls.names.count(classifier)) > 1:
            raise ValueError(
                f"classifier={classifier}: the forward pass calls it {times} times, so its input is not one feature "
                "vector of each sample; name another in model.classifier, or with objective=standard what is to be "
                "measured in measure.layers"
            )
        return network, classifier
    except ValueError:
        decays_features = getattr(config.objective, "feature_decay", None) is not None
        if model.classifier is not None or config.measure.layers is None or decays_features:
            raise
        return network, None
