"""Which series is which scan, in a table of names."""

import pytest

from jointnet.data.init.file_roles import find_roles
from jointnet.data.init.series import as_series

FOUR = ("cine", "lge", "cine_label", "lge_label")


def series(*patterns, counts=()):
    numbers = dict(zip(patterns, [*counts, *[4] * len(patterns)], strict=False))
    return as_series(
        {pattern: {str(i): pattern.replace("{id}", str(i)) for i in range(numbers[pattern])} for pattern in patterns}
    )


def named_labels(found):
    return {one.pattern for one in found if "label" in one.kinds}


def all_grids(found):
    return {(one.pattern, other.pattern) for one in found for other in found}


@pytest.mark.parametrize(
    "patterns",
    [
        ("{id}_cine", "{id}_lge", "{id}_cine_mask", "{id}_lge_mask"),
        ("{id}_C0", "{id}_DE", "{id}_C0_gt", "{id}_DE_gt"),
        ("imagesTr/{id}_0000", "imagesTr/{id}_0001", "labelsTr/{id}_0000", "labelsTr/{id}_0001"),
        ("{id}/{id}_SA_ED", "{id}/{id}_SA_LGE", "{id}/{id}_SA_ED_gt", "{id}/{id}_SA_LGE_gt", "{id}/{id}_SA_ES"),
        ("{id}/sax", "{id}/psir", "{id}/seg_sax", "{id}/seg_psir", "{id}/4ch", "{id}/t1_map"),
        ("{id}/cine_sa", "{id}/lge_sa", "{id}/cine_sa_contours", "{id}/lge_sa_contours", "{id}/cine_4ch"),
    ],
)
def test_words_tell(patterns):
    found = series(*patterns)
    roles = find_roles(found, named_labels(found), all_grids(found))
    assert roles.patterns == dict(zip(FOUR, patterns, strict=False))
    assert roles.unsure == roles.questions == ()


def test_what_is_left_is_taken_with_a_remark():
    patterns = ("Images/{id}_cine", "Images/{id}", "Contours/{id}_cine", "Contours/{id}")
    found = series(*patterns)
    roles = find_roles(found, named_labels(found), {(patterns[0], patterns[2]), (patterns[1], patterns[3])})
    assert roles.patterns == dict(zip(FOUR, patterns, strict=True))
    assert [line.partition(",")[0] for line in roles.unsure] == [
        "Images/{id} is taken as LGE",
        "Contours/{id} is taken as LGE's labels",
    ]
    assert not roles.questions


def test_content_tells_labels_without_a_word():
    patterns = ("a/{id}_cine", "a/{id}_lge", "b/{id}_cine", "b/{id}_lge")
    found = series(*patterns)
    roles = find_roles(found, {"b/{id}_cine", "b/{id}_lge"}, all_grids(found))
    assert roles.patterns == dict(zip(FOUR, patterns, strict=True))


@pytest.mark.parametrize(
    ("patterns", "options"),
    [
        (("{id}_cine_1", "{id}_cine_2", "{id}_lge"), ["--cine"]),
        (("{id}_cine", "{id}_lge", "{id}_psir"), ["--lge"]),
        (("{id}_a", "{id}_b"), ["--cine", "--lge"]),
        (("{id}_cine", "{id}_lge", "{id}_cine_gt", "{id}_cine_mask"), ["--cine-label"]),
        (("{id}_cine", "{id}_4ch"), ["--lge"]),
    ],
)
def test_questions_name_their_option_and_the_candidates(patterns, options):
    found = series(*patterns)
    roles = find_roles(found, named_labels(found), all_grids(found))
    assert sorted(line.partition(":")[0] for line in roles.questions) == sorted(options)
    assert all("{id}" in line or "none" in line for line in roles.questions)
    given = {"--cine": "{id}_cine_1", "--lge": "{id}_lge", "--cine-label": "{id}_cine_gt"}
    if len(options) == 1 and given[options[0]] in patterns:
        role = options[0].strip("-").replace("-", "_")
        assert not find_roles(found, named_labels(found), all_grids(found), {role: given[options[0]]}).questions


def test_the_series_of_more_patients_is_taken_with_a_remark():
    roles = find_roles(series("{id}_cine", "{id}_cine_old", "{id}_lge", counts=(4, 1, 4)), (), ())
    assert roles.patterns["cine"] == "{id}_cine"
    assert "{id}_cine_old (1 files) may be the cine too" in roles.unsure[0]


def test_labels_on_another_grid_are_left_out_with_a_remark():
    found = series("{id}_cine", "{id}_lge", "{id}_cine_seg", "{id}_lge_seg")
    roles = find_roles(found, named_labels(found), {("{id}_cine", "{id}_cine_seg")})
    assert set(roles.patterns) == {"cine", "lge", "cine_label"}
    assert roles.unsure == ("{id}_lge_seg is left out: its grid is not that of {id}_lge",)
