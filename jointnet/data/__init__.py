"""A folder of scans: find the files of its patients, and inspect them before training."""

PAPER_SPLITS = ("25/15/5", "35/5/5")
"""The paper's training, validation and test patients. Both splits annotate 40 patients."""
DEFAULT_SPLITS = ("25/5/5", "35/5/5")
"""The splits of a study that states none: those of the paper with the same validation patients in both."""


def proposed_splits(patients: int) -> tuple[str, ...]:
    """Return up to two splits of which the larger needs all patients; none for fewer than 4 patients.

    The training patients are in the proportions of the paper. Both splits have the same validation patients.
    """
    if patients < 4:
        return ()
    test = min(5, max(1, patients // 5))
    rest = patients - test
    validation = min(5, max(1, rest // 4))
    large = rest - validation
    small = large * 5 // 7
    if small >= 10:
        small -= small % 5
    larger, smaller = f"{large}/{validation}/{test}", f"{small}/{validation}/{test}"
    return (smaller, larger) if 0 < small < large else (larger,)


def suffices(patients: int, split: str) -> bool:
    """Return whether there are enough patients for a split such as `25/15/5`."""
    return sum(int(part) for part in split.split("/")) <= patients
