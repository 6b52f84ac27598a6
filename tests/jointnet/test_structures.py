from jointnet.evaluate.aggregation import ENDPOINTS, METRIC_TITLES
from jointnet.structures import (
    CENTRED,
    CLASS_INDEX,
    CLASSES,
    LABEL_VALUE,
    STRUCTURE_DESCRIPTIONS,
    STRUCTURE_TITLES,
    STRUCTURES,
)


def test_structures_are_those_of_ms_cmrseg():
    assert LABEL_VALUE == {"myo": 200, "lv": 500, "rv": 600}
    assert set(STRUCTURES) == set(CLASS_INDEX) == set(LABEL_VALUE)
    assert sorted(CLASS_INDEX.values()) == [1, 2, 3]
    assert CLASSES == 4
    assert CENTRED == ("lv", "rv")


def test_each_structure_and_each_metric_of_an_endpoint_has_a_title():
    assert set(STRUCTURE_TITLES) == set(STRUCTURE_DESCRIPTIONS) == set(STRUCTURES)
    assert {metric for metric, _ in ENDPOINTS} <= set(METRIC_TITLES)
