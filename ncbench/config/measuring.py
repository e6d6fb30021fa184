"""What is measured, where it runs and where measures go: the groups `measure`, `trainer` and `logger`."""

from dataclasses import dataclass, field
from typing import Any

from ncbench.config.rules import is_list, require
from ncbench.config.variants import Group

__all__ = ["LARGEST_HESSIAN", "PRECISIONS", "SCALES", "SHOWN_BY_REPORT", "Logger", "Measure", "Trainer"]

SHOWN_BY_REPORT = ("label", "unit", "scale")  # beside the _target_ of a measure: how the report shows it
ENGINES = ("auto", "lanes", "torch")  # what each is: ncbench.training.engines
PRECISIONS = ("32", "64", "bf16-mixed")  # bf16-mixed: weights and measures in 32, products of training in bfloat16
SETS = ("default", "nc", "nc1", "nc2", "nc3", "nc4")  # of measures
SCALES = ("linear", "log", "symlog")
LOGGERS = ("local", "csv", "tensorboard", "wandb_offline", "wandb")
LONGEST_PROJECT, NOT_IN_PROJECT = 128, "/\\#?%:"
LARGEST_HESSIAN = 2400  # rows: the limit of ncbench.analysis.landscape, which cannot be imported without torch


@dataclass(frozen=True)
class Measure(Group):
    """What is measured, on which layers, when."""

    layers: list[str] | None = None  # names or globs; null: features and every layer of the head, or the classifier
    measures: Any = "default"  # nc: NC1 to NC4 too; or a list of names on request, as in docs/measures.md
    points: int = 60  # log-spaced steps or epochs, the first and the last included
    splits: list[str] = field(default_factory=lambda: ["train"])
    per_class: int | None = None  # measure on so many samples of each class; null: all
    batch_size: int = 250
    kmeans: bool = False  # total cluster variation by k-means too, at the last point of a perceptron's run
    hessian: bool = False  # its zero, negative and other eigenvalues, at the last point of a run of free features
    gram_every: int = 8  # Gram matrices at every so-many-th point, and at the last
    moments: dict[str, Any] = field(default_factory=dict)  # name -> _target_ of a function of ClassMoments
    matrices: dict[str, Any] = field(default_factory=dict)  # name -> _target_ of a function of a matrix

    def __post_init__(self) -> None:
        for key in ("points", "batch_size", "gram_every"):
            require(getattr(self, key) >= 1, f"measure.{key}", getattr(self, key), "must be >= 1")
        require(self.per_class is None or self.per_class >= 1, "measure.per_class", self.per_class, "must be >= 1")
        require(self.layers is None or len(self.layers) > 0, "measure.layers", self.layers, "must name layers, or null")
        names = [self.measures] if isinstance(self.measures, str) else self.measures
        texts = is_list(names) and all(isinstance(name, str) for name in names)
        rule = f"must be {', '.join(SETS)} or a list of names of measures"
        require(texts and (is_list(self.measures) or names[0] in SETS), "measure.measures", self.measures, rule)
        known = sorted(self.splits) in (["train"], ["test", "train"])
        rule = "must be [train] or [train, test]: the objective and the singular values are of the training data"
        require(known, "measure.splits", list(self.splits), rule)
        for kind in ("moments", "matrices"):
            for name, spec in getattr(self, kind).items():
                _check_measure(f"measure.{kind}.{name}", spec)


@dataclass(frozen=True)
class Trainer(Group):
    """Where and how long it runs."""

    max_epochs: int | None = None
    accelerator: str = "auto"
    threads: int | None = None  # null: what the network can use, at most OMP_NUM_THREADS; see `cores`
    precision: str = "32"
    engine: str = "auto"  # of free features in full batch: lanes or torch; auto: by the network alone
    devices: int = 1  # processes of one run (DDP), one GPU or a share of the cores each
    strategy: str = "auto"
    checkpoint_seconds: float = 2.0  # at most one checkpoint in so many seconds, and always one at the end
    progress: bool = True
    compile: bool = False  # torch.compile of the network in the training step
    cuda_graph: bool = False  # a training step recorded once and replayed, on one CUDA device
    fused: bool | None = None  # the optimiser's step in one kernel; null: on a GPU
    micro_batch: int | None = None  # gradients of a batch in parts of so many samples; null: at once
    keep_checkpoints: list[int] = field(default_factory=list)  # after so many epochs; 0: before training

    def __post_init__(self) -> None:
        require(
            self.max_epochs is None or self.max_epochs >= 1,
            "trainer.max_epochs",
            self.max_epochs,
            "must be >= 1",
        )
        require(self.threads is None or self.threads >= 1, "trainer.threads", self.threads, "must be >= 1")
        known = ("auto", "cpu", "gpu", "cuda", "mps")
        require(
            self.accelerator in known,
            "trainer.accelerator",
            self.accelerator,
            f"must be one of {', '.join(known)}",
        )
        require(self.devices >= 1, "trainer.devices", self.devices, "must be >= 1")
        rule = "must be auto or ddp (ddp_spawn, ddp_fork and the like are no processes of their own)"
        require(self.strategy in ("auto", "ddp"), "trainer.strategy", self.strategy, rule)
        rule = f"must be one of {', '.join(PRECISIONS)}"
        require(self.engine in ENGINES, "trainer.engine", self.engine, f"must be one of {', '.join(ENGINES)}")
        require(self.precision in PRECISIONS, "trainer.precision", self.precision, rule)
        require(
            self.micro_batch is None or self.micro_batch >= 1, "trainer.micro_batch", self.micro_batch, "must be >= 1"
        )
        kept = list(self.keep_checkpoints)
        increasing = kept == sorted({epoch for epoch in kept if epoch >= 0})
        require(increasing, "trainer.keep_checkpoints", kept, "must be increasing epochs >= 0 (0: before training)")
        require(
            self.checkpoint_seconds >= 0,
            "trainer.checkpoint_seconds",
            self.checkpoint_seconds,
            "must be >= 0",
        )


@dataclass(frozen=True)
class Logger(Group):
    """Where measures go besides the run folder."""

    kind: str = "local"
    project: str = "ncbench"
    entity: str | None = None
    tags: list[str] = field(default_factory=list)
    report: bool = True  # hand on the report of the finished run: its figures, and on W&B the page and the claims

    def __post_init__(self) -> None:
        require(self.kind in LOGGERS, "logger.kind", self.kind, f"must be one of {', '.join(LOGGERS)}")
        for key, name in (("project", self.project), ("entity", self.entity)):
            good = name is None or (1 <= len(name) <= LONGEST_PROJECT and not set(name) & set(NOT_IN_PROJECT))
            rule = f"must have 1 to {LONGEST_PROJECT} characters and none of {NOT_IN_PROJECT}, as W&B demands"
            require(good, f"logger.{key}", name, rule)


def _check_measure(key: str, spec: Any) -> None:
    """ValueError of one line unless a measure names a function, and says in words how it is shown."""
    named = isinstance(spec, dict) and isinstance(spec.get("_target_"), str)
    require(named, f"{key}", spec, "a function is needed, as in {_target_: package.function}")
    for word in ("label", "unit"):
        require(isinstance(spec.get(word, ""), str), f"{key}.{word}", spec.get(word), "must be a text")
    scale = spec.get("scale", SCALES[0])
    require(scale in SCALES, f"{key}.scale", scale, f"must be one of {', '.join(SCALES)}")
