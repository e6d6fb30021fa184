"""What the tables of wrong inputs share."""

import copy

import pytest

from ncbench.run.composer import Composer


@pytest.fixture
def _composed_once(monkeypatch, _compositions):
    """The files of an experiment are composed once for all cases: it is their values that are wrong."""
    real = Composer._by_hydra

    def remembered(self, overrides):
        key = (tuple(overrides), tuple(map(str, self._folders)))
        if key not in _compositions:
            _compositions[key] = real(self, overrides)
        return copy.deepcopy(_compositions[key])

    monkeypatch.setattr(Composer, "_by_hydra", remembered)


@pytest.fixture(scope="session")
def _compositions():
    return {}


@pytest.fixture
def _no_key(monkeypatch, tmp_path):
    """Nobody is logged in to W&B."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


@pytest.fixture
def _no_gpu(monkeypatch):
    """A machine without an accelerator, whatever this one has."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
