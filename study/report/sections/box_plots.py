"""Box plots of the registration metrics, before registration and for each arm, with every patient as a dot."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jointnet.evaluate.aggregation import in_patient_order
from study.report.analysis import Analysis, method_title
from study.report.figures import LIGHT, Picture, Theme, dress
from study.report.mean_tables import Column, widest
from study.report.page import Pictures, Section, Text
from study.report.store.records import ArmRecord, StudyRecord
from study.report.store.slice_rows import of_metric
from study.report.tables import with_patients
from study.store_names import BASELINES

_NOTE = (
    "Box: quartiles and median; whiskers: furthest value within 1.5 interquartile ranges. Every dot is a patient (mean "
    "of its slices); thin lines join a patient's values. Numbers below the boxes: annotated patients, training + "
    "validation."
)


def every_patient(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with one box plot per registration metric; the files have all in one picture."""
    headings = _headings(analysis.patients, analysis.columns)

    def draw(columns: Mapping[Column, str], theme: Theme) -> Figure:
        return draw_boxplots(analysis.patients, analysis.baselines, analysis.tested, columns, theme)

    def one(column: Column, heading: str) -> Picture:
        alt = (
            f"Box plots of {heading} before registration and for each baseline and arm, every patient a dot; "
            "the means are in the main table."
        )
        name = f"boxplot-{column.metric.removesuffix('_mm')}-{column.structure}"
        return Picture(name, heading, alt, "", lambda theme: draw({column: heading}, theme))

    alt = "Box plots of the registration metrics"
    together = Picture("boxplots", "", alt, "", lambda theme: draw(headings, theme))
    plots = Pictures(tuple(one(*item) for item in headings.items()), combined=together)
    return Section(
        "everyone", "Registration error of every patient", (plots, Text(_NOTE, "note")) if analysis.patients else ()
    )


def draw_boxplots(
    patients: Mapping[str, pd.DataFrame],
    baselines: Sequence[str],
    arms: Sequence[ArmRecord],
    columns: Mapping[Column, str],
    theme: Theme = LIGHT,
) -> Figure:
    """Draw box plots of the values before registration and of each baseline and arm, one panel per metric.

    Every patient is a dot in each box, and a thin line joins the dots of a patient.

    Args:
        patients: per-patient means by baseline and arm, as returned by `study.report.store.slice_rows.over_folds`.
        baselines: the names of the baselines, in the order of the boxes.
        arms: the arms in the order of the boxes; those without patients are left out.
        columns: the heading of each metric, one panel each.
        theme: the colours.
    """
    tested = [arm for arm in arms if arm.arm in patients]
    boxes = [
        *(_Box(name, f"{BASELINES[name].partition(',')[0]}\n0", theme.of_baseline(name)) for name in baselines),
        *(_Box(arm.arm, _below(arm), theme.of_look(arm.look)) for arm in tested),
    ]
    panel = max(0.75 + 0.62 * (1 + len(boxes)), 3.85 if len(columns) == 1 else 2.0)
    figure = Figure(figsize=(panel * len(columns), 3.4), layout="constrained", facecolor="none")
    for place, (column, heading) in enumerate(columns.items()):
        axes = figure.add_subplot(1, len(columns), place + 1)
        _draw_boxes(axes, patients, boxes, column, theme)
        dress(axes, theme)
        axes.set_title(heading, fontsize=10, color=theme.ink, loc="left")
    return figure


def _headings(patients: Mapping[str, pd.DataFrame], columns: Sequence[Column]) -> dict[Column, str]:
    """Return the heading of each metric, with the number of patients where the metrics differ in it."""
    counts = [[len(_of_column(means, column)) for means in patients.values()] for column in columns]
    return dict(zip(columns, with_patients([column.heading for column in columns], counts), strict=True))


class _Box(NamedTuple):
    """A box after registration: the key of its patients, the text below it, and its colour."""

    key: str
    text: str
    colour: str


def _below(arm: ArmRecord) -> str:
    """Return the text below an arm's box."""
    return f"{method_title(arm).replace('-', f'-{chr(10)}')}\n{arm.learned}+{arm.validation}"


def _draw_boxes(
    axes: Axes, patients: Mapping[str, pd.DataFrame], boxes: Sequence[_Box], column: Column, theme: Theme
) -> None:
    """Draw one metric: the box before registration, the other boxes, and one line per patient through its dots."""
    shared = widest({box.key: patients[box.key] for box in boxes})
    if shared is None:
        return
    series = [_of_column(shared, column)["before"]]
    series += [_of_column(patients[box.key], column)["after"] for box in boxes]
    if series[0].empty:
        return
    values = [one.to_numpy(dtype=float) for one in series]
    colours = [theme.before, *(box.colour for box in boxes)]
    names = ["Before", *(box.text for box in boxes)]
    places = np.arange(len(values))
    box = axes.boxplot(values, positions=places, widths=0.56, showfliers=False, patch_artist=True)
    for patch, colour in zip(box["boxes"], colours, strict=True):
        patch.set(facecolor=(colour, 0.22), edgecolor=colour, linewidth=1.2)
    for part, repeat in (("medians", 1), ("whiskers", 2), ("caps", 2)):
        for line, colour in zip(box[part], [colour for colour in colours for _ in range(repeat)], strict=True):
            line.set(color=colour, linewidth=2.2 if part == "medians" else 1.2)
    count = len(values[0])
    shift = np.linspace(-0.14, 0.14, count) if count > 1 else np.zeros(1)
    if all(len(one) == count for one in values):
        matrix = np.stack(values)
        axes.plot(places[:, None] + shift[None, :], matrix, color=theme.ink, linewidth=0.5, alpha=0.25, zorder=3)
    for place, one, colour in zip(places, values, colours, strict=True):
        axes.scatter(place + shift[: len(one)], one, s=15, color=colour, edgecolor=theme.paper, linewidth=0.5, zorder=4)
    axes.set_xticks(places, names, fontsize=7.5)
    axes.set_xlim(-0.6, len(values) - 0.4)
    axes.set_ylim(bottom=0)


def _of_column(means: pd.DataFrame, column: Column) -> pd.DataFrame:
    """Return the values of one metric, indexed by and sorted by patient."""
    return in_patient_order(of_metric(means, column.metric, column.structure).set_index("patient"))
