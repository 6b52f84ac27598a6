"""Ray on this machine or on a cluster, and the checks of its nodes."""
