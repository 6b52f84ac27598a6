"""The view of a study in the MLflow UI: model training, not GenAI; its trials, best first; its data as a dataset."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag

from study.store_names import PARETO_TAG, WINNER_TAG, best_name

KIND = "mlflow.experimentKind"
"""The experiment's tag by which most versions of MLflow 3 choose between their views for training and for GenAI."""
TRAINING = "custom_model_development"
VIEW = "mlflow.sharedViewState."
"""Prefix of the experiment's tags that hold the content of shared views, in the UI's own words."""
DIGEST_LENGTH = 36
"""Maximum length of a dataset's digest in MLflow."""


@dataclass(frozen=True)
class TrialView:
    """The table of a study's trials.

    Attributes:
        metric: the objective, such as `val/registration_ratio`.
        ascending: whether low values are good.
        parameters: names of the parameters in its columns.
        further: the further metrics of a Pareto front.
    """

    metric: str
    ascending: bool
    parameters: tuple[str, ...]
    further: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoggedData:
    """The data of a study: a name that does not reveal its folder, and the digest of its scans."""

    name: str
    kind: str
    digest: str


def share_view(client: MlflowClient, experiment: str, study_id: str, view: TrialView) -> None:
    """Set the experiment's tags for its kind and for the table of the study's trials, named after the study."""
    objective = f"metrics.`{best_name(view.metric)}`"
    others = [f"metrics.`{best_name(name)}`" for name in view.further]
    columns = [objective, *others, *(f"params.`{name}`" for name in view.parameters), f"tags.`{WINNER_TAG}`"]
    columns += [*([f"tags.`{PARETO_TAG}`"] if view.further else []), "tags.`trial.state`"]
    state = {
        "searchFilter": f"tags.`study.id` = '{study_id}' and tags.`study.kind` = 'trial'",
        "orderByKey": objective,
        "orderByAsc": view.ascending,
        "selectedColumns": columns,
        "columnOrder": columns,
    }
    client.set_experiment_tag(experiment, KIND, TRAINING)
    client.set_experiment_tag(experiment, f"{VIEW}{study_id}", json.dumps(state))


def dataset_inputs(data: LoggedData, tags: Mapping[str, str]) -> Sequence[DatasetInput]:
    """Return the data as the input of a run, with the split of its arm as the context."""
    split = tags.get("split", "")
    context = "train {}, validation {}, test {}".format(*split.split("/")) if split.count("/") == 2 else "all splits"
    dataset = Dataset(data.name, data.digest[:DIGEST_LENGTH], data.kind, json.dumps({"fingerprint": data.digest}))
    return [DatasetInput(dataset, [InputTag("mlflow.data.context", context)])]
