"""The arms of the claims, the annotated patients that each needs, and their other differences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from study.arm_differences import VALIDATION, Given, annotated_training, beyond_question, key_name
from study.report.statistics.trainings import Trainings, together

_MODELS = ("joint", "standalone")


@dataclass(frozen=True)
class ClaimArm:
    """The properties of an arm that the claims need.

    Attributes:
        name: such as `joint-25`.
        method: the name without the number of training patients.
        model: name of the model.
        train, validation: numbers of patients.
        given: what the arm was given, as texts for `study.arm_differences`; empty where the store has none.
    """

    name: str
    method: str
    model: str
    train: int
    validation: int
    given: Given = field(default_factory=dict)

    @property
    def annotated(self) -> int:
        """Number of annotated patients that it needs."""
        return annotated_training(self.given, self.train) + self.validation


@dataclass(frozen=True)
class ClaimArms:
    """The three arms of the claims.

    Attributes:
        trainings: the trainings behind the arms, by name; an arm whose trainings are unknown is absent.
    """

    joint_small: ClaimArm
    standalone_small: ClaimArm
    standalone_large: ClaimArm
    trainings: Mapping[str, Trainings] = field(default_factory=dict)

    def trainings_of(self, *arms: str) -> Trainings | None:
        """Return the trainings of several of the arms together; None where those of one are unknown."""
        known = [self.trainings[arm] for arm in arms if arm in self.trainings]
        return together(known) if len(known) == len(arms) else None


def claim_arms(arms: Iterable[ClaimArm]) -> ClaimArms | str:
    """Return the three arms of the claims, or the reason why the study has none to make them about.

    Small is the smallest number of training patients for which both models have an arm. Large is the largest number of
    the stand-alone model, and must be above small. Where several methods have the same model (`[arms.NAME]` of a search
    file), it is not known which one a claim is about, and none is made.

    Args:
        arms: the arms of the study; an arm may be listed once per fold.
    """
    own = [arm for arm in arms if arm.model in _MODELS]
    methods = {model: tuple(dict.fromkeys(arm.method for arm in own if arm.model == model)) for model in _MODELS}
    for model, names in methods.items():
        if len(names) > 1:
            return f"{_listed(names)} have the same model, {model}, so it is not stated which of them a claim is about"
    most = sorted(own, key=lambda arm: arm.annotated)  # of an arm's folds the one that needs most counts
    arm_of = {(arm.model, arm.train): arm for arm in most}
    shared = [train for model, train in arm_of if model == "joint" and ("standalone", train) in arm_of]
    large = max((train for model, train in arm_of if model == "standalone"), default=0)
    if not shared or min(shared) >= large:
        return "the study does not have these three arms"
    small = min(shared)
    return ClaimArms(arm_of["joint", small], arm_of["standalone", small], arm_of["standalone", large])


def comparability(joint: ClaimArm, standalone: ClaimArm) -> str:
    """Return the sentences about the annotated patients of two arms, and what they differ in besides the question."""
    if joint.validation == standalone.validation:
        validation = f"both with {joint.validation} validation patient{'s' if joint.validation > 1 else ''}"
    else:
        validation = f"with {joint.validation} and {standalone.validation} validation patients, which is a difference"
    text = (
        f"They need {joint.annotated} and {standalone.annotated} annotated patients, {validation}."
        if joint.annotated != standalone.annotated
        else f"Each needs {joint.annotated} annotated patients, {validation}."
    )
    beyond = beyond_question({joint.name: joint.given, standalone.name: standalone.given})
    if others := [key_name(key) for key in beyond if key != VALIDATION]:
        text += f" They also differ in {_listed(others)}, so the result need not be due to the models."
    return text


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
