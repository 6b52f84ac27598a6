"""How many patients train, validate and test: the paper's counts, and counts that a folder's patients suffice for."""

PAPER_SPLITS = ("25/15/5", "35/5/5")
"""Train/validation/test of the paper's two arms."""


def proposed_splits(patients: int) -> tuple[str, ...]:
    """Propose two splits in the proportions of the paper's that use all patients; none where there are too few."""
    if patients < 4:
        return ()
    test = min(5, max(1, patients // 5))
    rest = patients - test
    validation = min(5, max(1, rest // 4))
    large = rest - validation
    small = large * 5 // 7
    if small >= 10:
        small -= small % 5
    larger, smaller = f"{large}/{validation}/{test}", f"{small}/{rest - small}/{test}"
    return (smaller, larger) if 0 < small < large else (larger,)


def suffices(patients: int, split: str) -> bool:
    """Tell whether there are as many patients as a split such as `25/15/5` needs."""
    return sum(int(part) for part in split.split("/")) <= patients
