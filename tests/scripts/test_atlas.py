"""scripts/atlas.py: the search of tiny cells, its continuation after a kill, its objective and its names."""

import atlas
import atlas_files
import atlas_map
import atlas_names
import pytest
import torch
from atlas_methods import QUICK, reduced
from atlas_search import Cell, Objective, value
from atlas_starts import deeper, perturbed, pruned, random_factors, shallower, stacked, without_a_class
from atlas_tables import tabulate

from ncbench.core import frames
from ncbench.theory import dufm_ce, dufm_mse
from ncbench.theory.atlas_table import entries

TINY = ["--quick", "--cells", "ce_K2_L1_0.01", "mse_K2_L2"]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlas")
    assert atlas.main([*TINY, "--out", str(folder)]) == 0
    return folder


def losses(folder, cell):
    return {name: method["loss"] for name, method in atlas_files.read_cell(folder, cell)["methods"].items()}


def test_both_methods_find_dnc_where_it_is_optimal(out):
    """L = 1 is convex; K = 2 has DNC as its optimum (arXiv 2305.13165)."""
    for cell, dnc in [
        (Cell("ce", 2, 1, 0.01), 0.05600153),
        (Cell("mse", 2, 2, 5e-4), dufm_mse.dnc_loss(2, 2, 1, 5e-4, 5e-4)),
    ]:
        assert losses(out, cell) == pytest.approx({"reduced": dnc, "training": dnc}, rel=2e-7)


def test_it_goes_on_after_a_kill(tmp_path, monkeypatch, out):
    """The second cell is cut off while it is written: the first is kept, the second searched again, with one result."""
    written = atlas.write_cell

    def killed(folder, cell, content):
        if cell.loss == "mse":
            (folder / f"{cell.name}.part.npz").write_bytes(b"half")
            raise KeyboardInterrupt
        written(folder, cell, content)

    arguments = [*TINY, "--out", str(tmp_path)]
    monkeypatch.setattr(atlas, "write_cell", killed)
    with pytest.raises(KeyboardInterrupt):
        atlas.main(arguments)
    monkeypatch.setattr(atlas, "write_cell", written)
    (first,) = [path for path in tmp_path.glob("*.npz") if ".part" not in path.name]
    before = first.stat().st_mtime_ns
    assert atlas.main(arguments) == 0
    assert first.stat().st_mtime_ns == before
    assert losses(tmp_path, Cell("mse", 2, 2, 5e-4)) == losses(out, Cell("mse", 2, 2, 5e-4))


def test_the_table_and_its_page(out, tmp_path):
    tabulate(out, tmp_path)
    assert (tmp_path / "ce.csv").read_text().count("\n") == 2
    assert "dnc" in (tmp_path / "mse.csv").read_text()
    text = atlas_map.page({loss: list(entries(loss).values()) for loss in ("ce", "mse")})
    assert "Global optimality is not proven" in text
    assert f"{len(entries('ce'))} entries" in text


def test_wrong_input_is_one_line(capsys, tmp_path):
    assert atlas.main(["--cells", "K99"]) == 2
    assert atlas.main(["--table", "--out", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("atlas: --cells must be parts of names such as ce_K2_L1_0.01, got K99")
    assert lines[1] == f"atlas: --out must hold cells of the search, {tmp_path} has none"


@pytest.mark.parametrize("loss", ["ce", "mse"])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_objective_and_its_gradient_are_those_of_the_theory(loss, rounded):
    cell = Cell(loss, 4, 3, 0.02)
    starts = random_factors(cell, 5, (1.0,), [0, 1])
    x = stacked(starts, 5).requires_grad_()
    lam = torch.full((2,), cell.decay, dtype=torch.float64)
    objective = Objective(cell, 5, lam, torch.full((2, 2), 1e-9, dtype=torch.float64) if rounded else None)
    gradient = torch.empty(x.shape, dtype=torch.float64)
    with torch.no_grad():
        values = objective(x, gradient)
    theory = dufm_ce.loss if loss == "ce" else dufm_mse.loss
    split = objective.split(x)
    expected = torch.stack([theory(split[0][i], [F[i] for F in split[1:]], 1, 0.02, 0.02) for i in range(2)])
    torch.testing.assert_close(values, expected.detach(), rtol=1e-8, atol=0)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), x)[0], rtol=1e-8, atol=1e-12)


def test_the_end_is_reached_on_the_kinks_of_the_relu():
    """The SRG solution of K = 6, L = 4 lies on kinks and is left: no end is above it, and none above its start."""
    cell = Cell("mse", 6, 4, 5e-4)
    end = reduced(cell, [], QUICK)
    H, *Ws = end.matrices
    assert end.loss == pytest.approx(float(dufm_mse.loss(H, Ws, 1, 5e-4, 5e-4)), rel=1e-12)
    assert end.loss < dufm_mse.srg_loss(6, 4, 1, 5e-4, 5e-4)


def test_factors_of_neighbouring_cells_have_the_shapes_of_the_cell():
    cell = Cell("mse", 4, 3, 5e-4)
    H, Ws = dufm_mse.dnc_solution(4, 3, 1, 5e-4, 5e-4)
    factors = [H, *Ws]
    for deep in deeper(factors):
        assert len(deep) == 5
        unchanged = dufm_mse.loss(deep[0], deep[1:], 1, 5e-4, 5e-4) - 5e-4 / 2 * 4
        torch.testing.assert_close(unchanged, dufm_mse.loss(H, Ws, 1, 5e-4, 5e-4), rtol=1e-10, atol=0)
    assert all(len(shallow) == 3 for shallow in shallower(factors))
    fewer = list(without_a_class(factors))
    assert len(fewer) == 4
    assert all((f[0].shape[1], f[-1].shape[0]) == (3, 3) for f in fewer)
    wide = stacked([factors], 7)
    torch.testing.assert_close(value(cell, 7, wide)[0], dufm_mse.loss(H, Ws, 1, 5e-4, 5e-4), rtol=1e-12, atol=0)
    split = [F[0] for F in Objective(cell, 7, torch.ones(1, dtype=torch.float64)).split(wide)]
    assert [F.shape for F in pruned(split)] == [F.shape for F in factors]
    assert all(bool((a != b).any()) for a, b in zip(perturbed(factors, 0.1, 0), factors, strict=True))


def test_names_up_to_permutation_and_scale():
    order = torch.randperm(6, generator=torch.Generator().manual_seed(0))

    def mixed(M):
        return 3.0 * M[order][:, order]

    assert atlas_names.name_logits(mixed(frames.pair_blocks(6))) == "pairs"
    assert atlas_names.name_logits(mixed(frames.simplex_etf(6))) == "dnc"
    assert atlas_names.name_logits(mixed(frames.polygon(6))) == "polygon"
    assert atlas_names.name_logits(torch.zeros(6, 6, dtype=torch.float64)) == "zero"
    bent = frames.pair_blocks(6).clone()
    bent[0, 1] += 0.05
    assert atlas_names.name_logits(bent) == "unnamed"
    assert atlas_names.name_logits(mixed(bent), [("[2, 2, 2]", bent)]) == "pairs, relaxed"
    H, Ws = dufm_mse.srg_solution(10, 4, 1, 5e-4, 5e-4)
    assert atlas_names.name_features([H, *Ws]) == "srg T_5"
    H, Ws = dufm_mse.dnc_solution(10, 4, 1, 5e-4, 5e-4)
    assert atlas_names.name_features([H, *Ws]) == "dnc"
