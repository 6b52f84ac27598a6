from jointnet.structures import CENTRED, CLASSES, CODE, FILE_VALUE, STRUCTURES


def test_structures_are_those_of_ms_cmrseg():
    assert FILE_VALUE == {"myo": 200, "lv": 500, "rv": 600}
    assert set(STRUCTURES) == set(CODE) == set(FILE_VALUE)
    assert sorted(CODE.values()) == [1, 2, 3]
    assert CLASSES == 4
    assert CENTRED == ("lv", "rv")
