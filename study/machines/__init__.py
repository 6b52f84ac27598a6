"""Ray on this machine or on a cluster, the checks of its nodes, and the provenance of a result."""
