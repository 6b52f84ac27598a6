"""Export of a model as a MONAI bundle: `python -m jointnet.export_bundle`."""
