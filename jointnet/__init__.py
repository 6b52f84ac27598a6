"""Registration of LGE onto cine cardiac MRI, alone or jointly with segmentation of both.

The science of the project, usable on its own: it knows torch and nibabel, and nothing of ray, mlflow or optuna.
"""

from jointnet.home import complete_environment

complete_environment()  # before matplotlib, MLflow and Ray are imported
