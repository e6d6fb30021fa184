"""Figure of learning: accuracy and fit on the training and the test data over epochs."""

from ncbench.records.computed import computed
from ncbench.records.layers import WHOLE_NETWORK
from ncbench.records.load import load_measures
from ncbench.records.runs import Dir, NoRecordsError
from ncbench.records.settings import find_settings, with_setting
from ncbench.report.figures import style
from ncbench.report.figures.arrangement import legend_columns, note_fewer, note_missing, note_quartiles
from ncbench.report.figures.epochs import draw_curve, is_reached, legend_handles, looks, mark_terminal_phase
from ncbench.report.figures.labels import literal
from ncbench.report.figures.style import Plot, panels, styled
from ncbench.report.selectors import require_finite
from ncbench.report.settings import quartiles
from ncbench.report.terminal_phase import ZERO_ERROR, terminal_starts

PANELS = {"accuracy": "accuracy", "fit": "fit"}
IN_STEPS = ("full_batch", "stationary")  # the kinds of `schedule` that count gradient steps, and no epochs


@styled
def learning_curves(dir: Dir) -> Plot:
    """Accuracy and fit of networks in mini-batches over epochs, medians and quartiles over the networks of a setting.

    Where no fit is recorded (a network without an objective) the accuracy is alone. Solid on the training data, dashed
    on the test data, other splits by their names, a colour for each setting, at most six. The dotted line is the start
    of the terminal phase (see `ncbench.report.terminal_phase`). The objective beside the theory lines is the figure
    `loss`. Full-batch ensembles have no epochs, as the `schedule.kind` of their configuration says (epochs of one step
    are epochs): where there is nothing else NoRecordsError is raised.
    """
    settings, configured = find_settings(dir), computed(dir)
    kinds = [(configured.get(setting.run) or {}).get("schedule.kind") for setting in settings]
    frame = load_measures(dir, measures=PANELS, layers=[WHOLE_NETWORK])
    frame = with_setting(frame[frame["split"] != ""], settings)
    frame = frame[frame["setting"].isin([code for code, kind in enumerate(kinds) if kind not in IN_STEPS])]
    if not (frame["measure"] == "accuracy").any():
        raise NoRecordsError("no accuracy over epochs recorded")
    require_finite(frame["value"], "accuracy and fit")
    present = sorted(map(int, frame["setting"].unique()))
    shown = present[: style.MAX_PANELS]
    tints = style.tints({code: literal(settings[code].label) for code in shown})
    by = ["setting", "measure", "split", "epoch"]
    table = quartiles(frame, by)
    recorded = {measure: label for measure, label in PANELS.items() if (frame["measure"] == measure).any()}
    drawn = looks(map(str, frame["split"].unique()))
    figure, axes = panels(1, len(recorded), 5.2 if len(recorded) == 1 else 4.3, 3.4)
    for ax, (measure, label) in zip(axes.flat, recorded.items(), strict=True):
        floor = style.FLOOR if measure == "fit" else None
        for code in shown:
            rows = table[(table["setting"] == code) & (table["measure"] == measure)]
            for split, look in drawn.items():
                draw_curve(ax, rows[rows["split"] == split], tints[code][0], look, floor)
        if measure == "fit":
            style.log_if_positive(ax)
        ax.set(ylabel=label, xlabel="epoch")
        ax.set_xlim(left=0)
    starts = terminal_starts(frame)
    notes = mark_terminal_phase(list(axes.flat), starts, tints, ZERO_ERROR)
    handles = legend_handles(axes.flat, tints, drawn.values(), is_reached(starts, shown))
    columns = legend_columns(figure, [handle.get_label() for handle in handles])
    legend = figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    notes = [*note_quartiles(table), *note_fewer(frame[frame["setting"].isin(shown)], by), *notes]
    note_missing(figure, [settings[code].values for code in present[len(shown) :]], notes, above=legend)
    return figure
