"""What a command finds in a run folder, also in one that an earlier version of the package wrote."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from ncbench.config.identity import differences
from ncbench.config.root import CLAIMED, Config
from ncbench.config.validate import validate_recorded
from ncbench.records.finished import check_finished
from ncbench.records.folder import RunFolder, RunState, read_config, write_config
from ncbench.records.run_hash import config_hash
from ncbench.records.run_info import frozen
from ncbench.records.schema import CHECKPOINTS, KEPT_CHECKPOINT, SCHEMA_VERSION
from ncbench.records.sync_claims import claims_differ, update_claims

__all__ = ["already_done", "bring_up_to_date", "not_kept", "state_of"]


def state_of(run: RunFolder, config: Config) -> RunState:
    """What may be done in the folder with this configuration; ValueError of one line where it is another's."""
    return run.state(config_hash(differences(config)), _present_hash)


def bring_up_to_date(
    run: RunFolder, config: Config, overrides: Sequence[str] | None = None, *, quick: bool = False
) -> list[str]:
    """Give a finished run the present claims and, if an earlier version wrote it, the present hash and form.

    With other claims it gets the overrides of the command that has them, where they are given. What `run.json` says
    of its end today is added where it does not say it yet. Returns the names of the claims that have changed. Raises
    DamagedError, naming the file, where the run is not all there as it was written, and OccupiedError where there is
    something to write while another command writes into the folder. `quick` as in `check_finished`.
    """
    check_finished(run.path, quick=quick)
    claimed = {key: value for key, value in config.plain().items() if key in CLAIMED}
    if _is_up_to_date(run.info()) and not claims_differ(run.path, claimed):
        return []  # nothing is written, and a folder to read only is done, too
    # Of several commands at once each begins with what the one before it has written.
    with nullcontext() if run.is_owned() else run:
        _write_what_is_missing(run, config)
        return update_claims(run.path, claimed, overrides)


def _is_up_to_date(info: Mapping[str, Any]) -> bool:
    return info.get("schema_version") == SCHEMA_VERSION and "standstill" in info


def _write_what_is_missing(run: RunFolder, config: Config) -> None:
    if run.info().get("schema_version") != SCHEMA_VERSION:
        recorded = validate_recorded(read_config(run.path))
        # The hash first: a run.json with the present one is right whatever form config.yaml has.
        run.update(schema_version=SCHEMA_VERSION, config_hash=config_hash(differences(config)))
        write_config(run.path, recorded.plain())
    if "standstill" not in run.info():
        from ncbench.records.standstill import standstill  # here: a folder that says it all is answered without pyarrow

        run.update(standstill=standstill(run.path, without=frozen(run.info(), "diverged")))


def already_done(changed: Sequence[str], not_kept: Sequence[int] = ()) -> str:
    """What a command says of a finished run, of which it changed these claims and has no checkpoint of these epochs.

    >>> already_done(["mine"], [10])
    'already done; claims changed: mine; trainer.keep_checkpoints: there is no checkpoint of epoch 10'
    """
    said = ["already done"]
    if changed:
        said.append(f"claims changed: {', '.join(changed)}")
    if not_kept:
        said.append(f"trainer.keep_checkpoints: there is no checkpoint of epoch {', '.join(map(str, not_kept))}")
    return "; ".join(said)


def not_kept(run: RunFolder, config: Config) -> list[int]:
    """Epochs of `trainer.keep_checkpoints` of which a finished run has no checkpoint."""
    kept = run.path / CHECKPOINTS
    return [epoch for epoch in config.trainer.keep_checkpoints if not (kept / KEPT_CHECKPOINT.format(epoch)).exists()]


def _present_hash(values: Mapping[str, Any]) -> str:
    return config_hash(differences(validate_recorded(values)))
