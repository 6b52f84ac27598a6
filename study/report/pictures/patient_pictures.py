"""The pictures of a report, each with its title, its text alternative and the function that draws it."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from matplotlib.figure import Figure

from study.report import efficiency, figures, mean_tables
from study.report.analysis import Analysis
from study.report.figures import DARK, LIGHT, Theme
from study.report.pictures import overlays
from study.report.pictures.shown import Shown, shown
from study.report.records import ArmRecord, StudyRecord
from study.report.search import search_figures
from study.report.search.importance import importance
from study.report.search.trial_table import search_parameters

BOX_NOTE = (
    "Box: quartiles and median; whiskers: furthest value within 1.5 interquartile ranges. Every dot is a patient (mean "
    "of its slices); thin lines join a patient's values. Numbers below the boxes: training patients."
)
EFFICIENCY_NOTE = (
    "Mean over the test patients with its 95 % t interval; dashed: before registration. Whether two arms differ is "
    "seen from their paired difference, not from these intervals."
)


@dataclass(frozen=True)
class Picture:
    """One picture.

    Attributes:
        name: the stem of its files.
        title: its heading.
        alt: its text alternative.
        note: an explanation for the reader.
        draw: a function that draws it in the colours of a theme.
        photo: whether it shows scans, which are the same on a light and a dark page.
    """

    name: str
    title: str
    alt: str
    note: str
    draw: Callable[[Theme], Figure]
    photo: bool = False

    def uri(self, dark: bool) -> str:
        """Return the picture as a data URI for a light or a dark page."""
        if self.photo:
            return _data("image/webp", self._photo["webp"])
        return _data("image/svg+xml", figures.as_bytes(self.draw(DARK), "svg") if dark else self._light["svg"])

    def files(self) -> dict[str, bytes]:
        """Return the content of the picture's files by name, in the colours of the light theme."""
        found = self._photo if self.photo else self._light
        return {f"{self.name}.{kind}": content for kind, content in found.items() if kind != "webp"}

    @cached_property
    def _photo(self) -> dict[str, bytes]:
        return overlays.as_images(self.draw(LIGHT))

    @cached_property
    def _light(self) -> dict[str, bytes]:
        drawn = self.draw(LIGHT)
        vectors = figures.as_bytes(drawn, "svg")
        return {"svg": vectors, "png": figures.as_bytes(figures.with_paper(drawn), "png")}


def boxplots(analysis: Analysis) -> tuple[Picture, ...]:
    """Return one box-plot picture per registration metric, with every patient as a dot."""
    if not analysis.patients:
        return ()
    arms = _first_records(analysis)

    def one(column: mean_tables.Column) -> Picture:
        alt = (
            f"Box plots of {column.heading} before registration and for each arm, every patient a dot; the means are "
            "in the main table."
        )
        return Picture(
            f"boxplot-{column.metric.removesuffix('_mm')}-{column.structure}", column.heading, alt, "",
            lambda theme: figures.boxplots(analysis.patients, arms, [column], theme),
        )  # fmt: skip

    return tuple(one(column) for column in mean_tables.REGISTRATION)


def curve(analysis: Analysis) -> tuple[Picture, ...]:
    """Return the picture of error against training patients; empty where nothing was tested."""
    table = efficiency.efficiency(analysis.patients, analysis.arms, mean_tables.REGISTRATION)
    if table.empty:
        return ()
    alt = (
        "Mean error of each metric against the number of training patients, a line per model with intervals, and the "
        "error before registration as a dashed line; the numbers are in the table below."
    )
    title = "Error against the number of annotated patients"
    return (
        Picture(
            "efficiency",
            title,
            alt,
            EFFICIENCY_NOTE,
            lambda theme: efficiency.draw(table, mean_tables.REGISTRATION, theme),
        ),
    )


def trials(study: StudyRecord, objective: str) -> tuple[Picture, ...]:
    """Return one picture per arm and fold with the objective of every trial."""

    def one(arm: ArmRecord) -> Picture:
        name = f"{arm.arm}-fold-{arm.fold}" if arm.folds > 1 else arm.arm
        alt = f"{objective} of the {len(arm.trials)} trials of {name}; the values are in trials.csv."
        return Picture(
            f"trials-{name}", "", alt, "", lambda theme: figures.trials([arm], objective, theme, study.arms)
        )  # fmt: skip

    return tuple(one(arm) for arm in study.arms if arm.trials)


def search(study: StudyRecord, analysis: Analysis, objective: str) -> dict[str, tuple[Picture, ...]]:
    """Return the pictures of the search results by arm. The key "" holds those that compare the arms."""
    found = {"": _searched("", search_figures.of_study(study.arms, objective))}
    for name, records in analysis.arms.items():
        space = search_parameters(study.specification, records[0])
        found[name] = _searched(name, search_figures.of_arm(records, space, importance(records, space), objective))
    return {name: pictures for name, pictures in found.items() if pictures}


def patients(analysis: Analysis) -> dict[str, tuple[Picture, ...]]:
    """Return the pictures of each arm's best, median and worst test patient, slice by slice."""
    found = {name: tuple(_patient(one) for one in shown(records)) for name, records in analysis.arms.items()}
    return {name: pictures for name, pictures in found.items() if pictures}


def _patient(one: Shown) -> Picture:
    where = f", fold {one.fold}" if one.fold > 1 else ""
    share = overlays.scar_share(one)
    note = f"Patient {one.patient}{where}: {one.rank} of {one.of}, registration ratio {one.ratio:.3f}. "
    note += f"Drawn as scar: {share:.0%} of the myocardium in LGE.".replace("%", " %")
    if not one.whole:
        note += " The study kept no picture of its other slices."
    alt = (
        f"{len(one.slices)} slices of patient {one.patient} ({one.rank} of {one.arm}): LGE with its scar, cine with "
        "the contours of cine and LGE unregistered and registered, a checkerboard of cine and registered LGE, and the "
        "registered scar on cine."
    )
    title = f"{one.rank.capitalize()} patient"
    return Picture(f"patient-{one.arm}-{one.rank}", title, alt, note, lambda _: overlays.overlay(one), photo=True)


def _searched(arm: str, drawn: Sequence[search_figures.SearchPicture]) -> tuple[Picture, ...]:
    def one(picture: search_figures.SearchPicture) -> Picture:
        name = "-".join(part for part in ("search", arm, picture.name) if part)
        words = (picture.title, picture.alt, picture.note)
        return Picture(name, *words, lambda theme: picture.dark if theme is DARK else picture.light)

    return tuple(one(picture) for picture in drawn)


def _first_records(analysis: Analysis) -> tuple[ArmRecord, ...]:
    return tuple(records[0] for name, records in analysis.arms.items() if name in analysis.patients)


def _data(mime: str, content: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"


def every(groups: Sequence[Sequence[Picture] | Mapping[str, Sequence[Picture]]]) -> list[Picture]:
    """Return the pictures of several groups in one list."""
    found: list[Picture] = []
    for group in groups:
        for part in group.values() if isinstance(group, Mapping) else [group]:
            found += part
    return found
