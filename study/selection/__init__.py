"""The selection of one trial per arm, and the evaluation on the sealed test patients.

*Sealed* is this project's word for the test patients of an arm until the selection of every arm is recorded. Until then
their files are only checked: the format, and which structures the labels show. No image or label of theirs is kept, and
no training or selection can use them. Then they are *opened* for one evaluation, and every opening is counted.

1. `best_trial`: the trial with the best validation objective is selected; later, one evaluated model is registered.
2. `openings`: which models are to be evaluated, and why the test patients are opened, computed from the ledger.
3. `held_out`: the check of the sealed files, and the evaluation on the opened test patients.
4. `baselines`: registration without annotation, evaluated on the opened test patients for comparison.
5. `slice_pictures`: the pictures of the test patients for the report.
"""
