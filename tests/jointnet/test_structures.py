from jointnet.structures import CENTRED, CLASS_INDEX, CLASSES, LABEL_VALUE, STRUCTURES


def test_structures_are_those_of_ms_cmrseg():
    assert LABEL_VALUE == {"myo": 200, "lv": 500, "rv": 600}
    assert set(STRUCTURES) == set(CLASS_INDEX) == set(LABEL_VALUE)
    assert sorted(CLASS_INDEX.values()) == [1, 2, 3]
    assert CLASSES == 4
    assert CENTRED == ("lv", "rv")
