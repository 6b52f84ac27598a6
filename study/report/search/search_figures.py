"""The pictures of the search results, of one arm and of the study. Pictures without data are left out."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from study.report.figures import DARK, LIGHT
from study.report.records import ArmRecord
from study.report.search import importance, objective_figures, parameter_figures
from study.report.search.importance import Importance
from study.report.search.objective_figures import draw_tradeoff, tradeoff_alt, tradeoff_note
from study.report.search.trial_table import SearchParameter


@dataclass(frozen=True)
class SearchPicture:
    """One picture for a light and a dark page.

    Attributes:
        name: part of its file name.
        title: its heading.
        alt: the text alternative.
        note: an explanation for the reader.
    """

    name: str
    title: str
    light: Figure
    dark: Figure
    alt: str
    note: str = ""


def of_arm(
    arms: Sequence[ArmRecord], space: Sequence[SearchParameter], found: Importance, objective: str
) -> tuple[SearchPicture, ...]:
    """Draw one arm's pictures: importance, slices, triangle, parallel coordinates and trade-off.

    Pictures without data are left out.

    Args:
        arms: the records of one arm, one per fold; at least one.
        space: the searched parameters, as returned by `study.report.search.trial_table.search_parameters`.
        found: the importance, as returned by `study.report.search.importance.importance`.
        objective: the name of the objective, e.g. `Validation registration ratio`.
    """
    model = arms[0].model
    drawn = (
        _picture("importance", "Which parameters matter", importance.alt(found), importance.note(found), [
            importance.draw(found, theme, theme.of_model(model)) for theme in (LIGHT, DARK)
        ]),
        _picture("slices", "Each parameter by itself", parameter_figures.slices_alt(arms, space, objective), "", [
            parameter_figures.draw_slices(arms, space, objective, theme) for theme in (LIGHT, DARK)
        ]),
        _picture("lambdas", "Proportions of the loss weights", parameter_figures.triangle_alt(arms, objective), "", [
            parameter_figures.draw_triangle(arms, space, objective, theme) for theme in (LIGHT, DARK)
        ]),
        _picture("parallel", "All parameters together", parameter_figures.parallel_alt(arms, space, objective), "", [
            parameter_figures.draw_parallel(arms, space, objective, theme) for theme in (LIGHT, DARK)
        ]),
        _picture("tradeoff", "Registration against Dice", tradeoff_alt(arms, objective), tradeoff_note(arms), [
            draw_tradeoff(arms, objective, theme) for theme in (LIGHT, DARK)
        ]),
    )  # fmt: skip
    return tuple(picture for picture in drawn if picture is not None)


def of_study(arms: Sequence[ArmRecord], objective: str) -> tuple[SearchPicture, ...]:
    """Draw the comparison of the arms: the best objective so far against trials and against minutes."""
    figures = [objective_figures.draw_effort(arms, objective, theme) for theme in (LIGHT, DARK)]
    note = " ".join(objective_figures.effort_sentences(arms))
    picture = _picture(
        "effort", "Best so far at equal effort", objective_figures.effort_alt(arms, objective), note, figures
    )
    return () if picture is None else (picture,)


def _picture(name: str, title: str, alt: str, note: str, drawn: Sequence[Figure | None]) -> SearchPicture | None:
    light, dark = drawn
    return None if light is None or dark is None else SearchPicture(name, title, light, dark, alt, note)
