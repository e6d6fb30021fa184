"""Classes and functions of one's own that a configuration names: what is wrong with them is one line with its key."""

import re
import sys

import pytest

from ncbench import train
from tests.helpers.refusals import refused

MINE = """
import abc, sys, torch
from torch import nn

class Base(torch.utils.data.Dataset):
    def __init__(self, **further): ...
    def __len__(self): return 30
    def __getitem__(self, i): return torch.randn(2), i % 3
class Needs(Base):
    def __init__(self, batch_size, *, colour): ...
class Bare(Base):
    def __init__(self): ...
class Unfinished(Base, abc.ABC):
    @abc.abstractmethod
    def draw(self): ...
class Keyed(Base):
    def __init__(self, **further): raise KeyError("colour")
class Asserting(Base):
    def __init__(self, **further): assert not further and False
class Silent(Base):
    def __init__(self, **further): raise NotImplementedError
class Wrong(Base):
    def __init__(self, **further): raise ValueError("colour=red: must be blue")
class Told(Base):
    def __init__(self, **further): raise ValueError("colours must be blue")
class Adding(Base):
    def __init__(self, **further): 1 + "a"
number = 3
def nothing(*given, **further): return None
class Net(nn.Module):
    def __init__(self, width, **further):
        super().__init__()
        self.layer = nn.Linear(2, width)
class Optimizer(torch.optim.SGD):
    def __init__(self, params, must, **further): ...
class OptimizerOfKeys(torch.optim.SGD):
    def __init__(self, params, **further): raise KeyError("lr")
class Schedule(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, must, **further): ...
class ScheduleOfKeys(torch.optim.lr_scheduler.LRScheduler):
    def __init__(self, optimizer, **further): raise KeyError("initial_lr")
def value(given, must): return torch.zeros(())
def line(num_classes, must): return 1.0
def line_of_keys(num_classes): raise KeyError("a")
def line_by_zero(num_classes): return 1 / 0
"""
DATA = "dataset=other ~dataset.batch_size dataset._target_="
WHOLE = "model=network objective=standard objective.loss=ce model._target_="
BACKBONE = "~model.backbone +model.backbone="
COSINE = "schedule=cosine schedule._target_="
LINE = "trainer.max_epochs=null +experiment=dufm_k10 references="
NOT_THERE = "there is no class or function of this name"
NO_TYPE = "must be a class or function, and it is of the type"
UNREADABLE = "its module cannot be read (line 1 of broken.py is not written in Python's grammar)"
AT_IMPORT = "its module fails in line 1 of boom.py (there is no key 'x')"
NO_MODULE = "no module absent: run from its folder or set PYTHONPATH"
OTHERS = "its arguments are every key of dataset"
NEEDS_MUST = "*but on random features it needs a value for must"
AT_KEY = "fails in line 17 of mine.py (there is no key 'colour')"
OF_DATA = "what it takes from the data is named in model.from_data"
CASES = f"""
{DATA}mine.Needs -> dataset: Needs needs a value for batch_size; {OTHERS} (none), and dataset=other begins
{DATA}mine.Needs +dataset.batch_size=3 -> dataset: Needs needs a value for colour; {OTHERS} (batch_size)
{DATA}mine.Bare +dataset.colour=red -> dataset.colour: Bare takes no argument of that name; {OTHERS} (colour)
{DATA}mine.Bare +dataset._args_=[3] -> dataset: Bare takes fewer arguments than it is given
{DATA}mine.Unfinished -> dataset: Unfinished cannot be made, as it has no method draw of its own
{DATA}mine.Keyed -> dataset: Keyed {AT_KEY}
{DATA}mine.Asserting -> dataset: Asserting fails in line 19 of mine.py
{DATA}mine.Silent -> dataset: Silent fails in line 21 of mine.py
{DATA}mine.Wrong +dataset.colour=red -> dataset.colour=red: must be blue
{DATA}mine.Wrong -> dataset: colour=red: must be blue
{DATA}mine.Told -> dataset: colours must be blue
{DATA}mine.Adding -> dataset: Adding fails in line 27 of mine.py (unsupported operand
{DATA}mine.number -> dataset._target_=mine.number: {NO_TYPE} int
{DATA}mine.nothing -> dataset._target_: makes None, which is neither a torch Dataset nor
{DATA}mine.absent -> dataset._target_=mine.absent: {NOT_THERE}
{DATA}absent.Data -> dataset._target_=absent.Data: {NO_MODULE}
{DATA}broken.Data -> dataset._target_=broken.Data: {UNREADABLE}
{DATA}boom.Data -> dataset._target_=boom.Data: {AT_IMPORT}
dataset=torch dataset.train={{_target_:mine.Needs}} -> dataset.train: Needs needs a value for batch_size
dataset=torch dataset.train={{_target_:mine.Keyed}} -> dataset.train: Keyed fails in line 17 of mine.py
{WHOLE}mine.Net -> model: Net needs a value for width; {OF_DATA}
{WHOLE}mine.Net +model.width=wide -> model: Net fails in line 33 of mine.py
{WHOLE}mine.Keyed -> model: Keyed {AT_KEY}; {OF_DATA}
{WHOLE}mine.Asserting -> model: Asserting fails in line 19 of mine.py
{WHOLE}mine.Silent -> model: Silent fails in line 21 of mine.py
{WHOLE}mine.nothing -> model._target_: gives None, and not a torch.nn.Module
{WHOLE}mine.number -> model._target_=mine.number: {NO_TYPE} int
{WHOLE}broken.Net -> model._target_=broken.Net: {UNREADABLE}
{WHOLE}boom.Net -> model._target_=boom.Net: {AT_IMPORT}
{BACKBONE}{{_target_:mine.Net}} -> model.backbone: Net needs a value for width
{BACKBONE}{{_target_:mine.Keyed}} -> model.backbone: Keyed {AT_KEY}
{BACKBONE}{{_target_:mine.Keyed,_partial_:true}} -> model: BackboneWithHead {AT_KEY}
{BACKBONE}{{_target_:mine.nothing}} -> model.backbone: must be made when it is called; add _partial_: true to it
{BACKBONE}{{_target_:mine.Net,width:3}} -> model.backbone: must be made when it is called; add _partial_: true to it
{BACKBONE}{{_target_:mine.nothing,_partial_:true}} -> model.backbone: gives None, and not a torch.nn.Module
{BACKBONE}{{_target_:mine.number}} -> model.backbone._target_=mine.number: {NO_TYPE} int
{BACKBONE}{{_target_:mine.absent}} -> model.backbone._target_=mine.absent: {NOT_THERE}
optimizer._target_=mine.Optimizer -> optimizer: Optimizer needs a value for must
optimizer._target_=mine.OptimizerOfKeys -> optimizer: OptimizerOfKeys fails in line 37 of mine.py
optimizer._target_=mine.nothing -> optimizer._target_: gives None, and not an optimizer of torch
optimizer._target_=mine.number -> optimizer._target_=mine.number: {NO_TYPE} int
optimizer._target_=torch.nn -> optimizer._target_=torch.nn: {NO_TYPE} module
optimizer._target_=boom.Optimizer -> optimizer._target_=boom.Optimizer: {AT_IMPORT}
{COSINE}mine.Schedule -> schedule: Schedule needs a value for must
{COSINE}mine.ScheduleOfKeys -> schedule: ScheduleOfKeys fails in line 41 of mine.py (there is no
{COSINE}mine.nothing -> schedule._target_: gives None, and not a scheduler of torch
{COSINE}mine.number -> schedule._target_=mine.number: {NO_TYPE} int
+measure.moments.soft={{_target_:mine.value}} -> {NEEDS_MUST}
+measure.moments.soft={{_target_:mine.number}} -> measure.moments.soft._target_=mine.number: {NO_TYPE} int
+measure.moments.soft={{_target_:boom.value}} -> measure.moments.soft._target_=boom.value: {AT_IMPORT}
+measure.matrices.soft={{_target_:mine.value}} -> {NEEDS_MUST}
+measure.matrices.soft={{_target_:mine.value,other:3}} -> *but on random features it takes no argument other
+measure.matrices.soft={{_target_:broken.value}} -> measure.matrices.soft._target_=broken.value: {UNREADABLE}
{LINE}[{{name:a,_target_:mine.line}}] -> references.a: mine.line needs a value for must
{LINE}[{{name:a,_target_:mine.line_of_keys,other:3}}] -> references.a: mine.line_of_keys takes no argument other
{LINE}[{{name:a,_target_:mine.line_of_keys}}] -> references.a: line_of_keys fails in line 44 of mine.py (there is no key
{LINE}[{{name:a,_target_:mine.line_by_zero}}] -> references.a: line_by_zero fails in line 45 of mine.py (division
{LINE}[{{name:a,_target_:mine.number}}] -> references.a._target_=mine.number: must be a function
{LINE}[{{name:a,_target_:mine.absent}}] -> references.a._target_=mine.absent: {NOT_THERE}
{LINE}[{{name:a,_target_:broken.line}}] -> references.a._target_=broken.line: {UNREADABLE}
{LINE}[{{name:a,_target_:boom.line}}] -> references.a._target_=boom.line: {AT_IMPORT}
+callbacks=[{{_target_:mine.nothing}}] -> callbacks=[{{'_target_': 'mine.nothing'}}]: unknown key
+trainer.callbacks=[{{_target_:mine.nothing}}] -> trainer.callbacks=[{{'_target_': 'mine.nothing'}}]: unknown key
+logger._target_=mine.nothing -> logger._target_=mine.nothing: unknown key
+objective.colour=3 -> objective.colour=3: unknown key
objective._target_=mine.Net -> objective: Net needs a value for width
"""


def name_of(given):
    """The case's name: the kind of object and the class or function, without brackets."""
    kinds = {DATA: "dataset", WHOLE: "network", BACKBONE: "backbone", COSINE: "schedule", LINE: "reference"}
    for start, kind in kinds.items():
        given = given.replace(start, f"{kind} ")
    return " ".join(re.sub(r"[^\w.]", " ", given.replace("_target_", "").replace("name:a,", "")).split())


PAIRS = [tuple(line.split(" -> ")) for line in CASES.strip().splitlines()]


@pytest.mark.usefixtures("_place", "_composed_once")
@pytest.mark.parametrize(("given", "message"), [pytest.param(*pair, id=name_of(pair[0])) for pair in PAIRS])
def test_refused_in_one_line(given, message, tmp_path, capfd):
    quick = ["trainer.progress=false", "trainer.max_epochs=1"]
    refused(lambda: train.main([*quick, *given.split()]), message, tmp_path, capfd)


@pytest.fixture
def _place(tmp_path, monkeypatch):
    for name, text in (("mine", MINE), ("broken", "def f(:\n"), ("boom", "raise KeyError('x')\n")):
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield
    for name in ("mine", "broken", "boom"):
        sys.modules.pop(name, None)


def test_a_fault_of_the_program_itself_is_no_wrong_input(monkeypatch):
    from ncbench.config.root import Config
    from ncbench.run import build, one_line_errors
    from ncbench.run.compose import compose_jobs

    (job,) = compose_jobs(["+experiment=digits_mlp"], multirun=False)
    assert isinstance(job.config, Config)
    monkeypatch.setattr(build, "as_run_data", lambda made: {}["planted"])
    monkeypatch.setattr(one_line_errors, "place_of", lambda error: None)  # this test stands for a line of the package
    with pytest.raises(KeyError, match="planted"):
        build.build(job.config)
