"""Command `python -m ncbench.measure RUN_OR_CHECKPOINT`: the measures of a trained network as a table."""

if __name__ == "__main__":
    from ncbench._safe_path import leave_current_folder

    leave_current_folder()  # first: what is imported after it is not the folder's

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ncbench._cli import DISK_FULL, Parser, UsageError, collector_off, of_file_system, one_line, printing
from ncbench.records.csv_text import csv_text
from ncbench.records.whole_files import write_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="python -m ncbench.measure",
        description=__doc__,
        epilog="One line per layer and stage. With several replicas each number is the median over them.",
    )
    parser.add_argument("path", metavar="RUN_OR_CHECKPOINT", type=Path, help="a run folder, or a .ckpt inside one")
    parser.add_argument("--split", default="train", help="train (default) or test")
    parser.add_argument("--layers", nargs="+", metavar="NAME", help="names or globs; default: the run's own")
    parser.add_argument(
        "--measures", nargs="+", default=(), metavar="NAME", help="further measures, e.g. nc cdnv; default: the run's"
    )
    parser.add_argument("--per-class", type=int, metavar="N", help="the first N samples of each class; default: all")
    parser.add_argument("--batch-size", type=int, default=250, metavar="N", help="default: 250")
    parser.add_argument(
        "--dataset-root", type=Path, metavar="DIR", help="where the data lies here; default: where the run had it"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package or module of yours whose classes the run may name; may be given several times",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write every value (one per row, every replica) there")
    return parser


@printing
def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; returns the exit status, 2 with one line for wrong input."""
    try:
        arguments = _parser().parse_args(argv)
        for option, count in (("--batch-size", arguments.batch_size), ("--per-class", arguments.per_class)):
            if count is not None and count < 1:
                raise UsageError(f"{option}={count}: must be >= 1")
        if arguments.csv is not None and (arguments.csv.is_dir() or not arguments.csv.parent.is_dir()):
            raise UsageError(f"--csv={arguments.csv}: must be a file in a folder that is there")
    except UsageError as error:
        print(f"ncbench measure: {error}", file=sys.stderr)
        return 2
    try:  # --help and a wrong option answer before anything is imported
        values = _measured(arguments)
        if arguments.csv is not None:
            _write(arguments.csv, csv_text(values))
    except ValueError as error:
        print(f"ncbench measure: {one_line(error)}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"ncbench measure: {of_file_system(error)}", file=sys.stderr)
        return 1 if error.errno in DISK_FULL else 2
    print(_wide(values, _diverged(arguments.path)))
    return 0


def _measured(arguments: argparse.Namespace) -> "pd.DataFrame":
    path: Path = arguments.path
    if not path.exists():
        raise ValueError(f"{path} does not exist; give a run folder, or a checkpoint inside one")
    with collector_off():
        from ncbench.measure.measure_pass import measure
        from ncbench.measure.names import names_on_request
        from ncbench.measure.network import table
        from ncbench.run.build import load_run, measured_layers, own_measures

    module: Any
    module, data, config = load_run(path, dataset_root=arguments.dataset_root, trust=arguments.trust)
    # NC3 is of the training set's class means, and NC4 looks at the samples of any split in their light.
    measures = names_on_request(arguments.measures or config.measure.measures)
    of_train = not {"self_duality", "ncc_mismatch"}.isdisjoint(measures)
    splits = dict.fromkeys(["train", arguments.split] if of_train else [arguments.split])
    own = own_measures(config)
    measurement = measure(
        module.network,
        {split: data.measure_loader(split, arguments.batch_size, arguments.per_class) for split in splits},
        layers=arguments.layers or measured_layers(config, module),
        num_classes=data.num_classes,
        # An ensemble's is of the training set.
        objective=None if arguments.split == "test" and config.model.full_batch else module.objective,
        measures=measures,
        moments=own["moments"],
        matrices=own["matrices"],
    )
    values = table(measurement, first_split=next(iter(splits)))
    if arguments.split == "test":  # what is minimised is of the training set; of the test set a run records the fit
        values = values[~values["measure"].isin(["loss", "regulariser"])]
    return values[values["split"].isin(["", arguments.split]) | (values["measure"] == "self_duality")]


def _write(path: Path, text: str) -> None:
    """Write a file that the command line names: whole, where it is a file and not a device or a pipe."""
    named = path.resolve()
    if named.exists() and not named.is_file():
        named.write_text(text, encoding="utf-8")
    else:
        write_text(named, text)


def _diverged(path: Path) -> list[int]:
    """The replicas of a run folder that have diverged; a checkpoint that is named itself may be of an earlier step."""
    from ncbench.records.run_info import frozen, read_run_info
    from ncbench.records.schema import RUN_INFO

    return frozen(read_run_info(path), "diverged") if (path / RUN_INFO).is_file() else []


def _wide(rows: "pd.DataFrame", diverged: Sequence[int]) -> str:
    """One line per (layer, stage), one column per measure, without what diverged; the whole network's values above."""
    values = rows[rows["measure"] != "singular_value"]
    if not set(values["replica"]) <= set(diverged):
        values = values[~values["replica"].isin(diverged)]
    order = list(dict.fromkeys(zip(values["layer"], values["stage"], strict=True)))
    columns = list(dict.fromkeys(values.loc[values["layer"] != "", "measure"]))
    medians = values.groupby(["layer", "stage", "measure"])["value"].median()
    whole = [f"{m} {medians['', '', m]:.6g}" for m in dict.fromkeys(values.loc[values["layer"] == "", "measure"])]
    lines = medians.unstack("measure")
    per_layer = lines.loc[[key for key in order if key[0]], columns].reset_index()
    table = per_layer.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")
    return "\n".join([", ".join(whole), table] if whole else [table])


if __name__ == "__main__":
    sys.exit(main())
