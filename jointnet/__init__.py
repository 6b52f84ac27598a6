"""Registration of LGE onto cine cardiac MRI, alone or jointly with segmentation of both.

This package is usable on its own. It depends on torch and nibabel, but not on ray, mlflow or optuna.

Importing it sets `HOME`, the user's name and matplotlib's folder in the environment where they are missing or unusable
(`jointnet.system.home`), because libraries that are imported later fail without.
"""

from jointnet.system.home import complete_environment

complete_environment()
