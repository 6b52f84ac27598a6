"""Simulated conditions of locks on clusters: a disk without `flock`, and a process on another host."""

NO_FLOCK = """
import errno, fcntl

def flock(descriptor, how):
    raise OSError(errno.ENOSYS, "Function not implemented")

fcntl.flock = flock
"""
"""Begins a script for which no file system has `flock`."""
OTHER_HOST = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$@"', "sh"]
"""Begins a command that runs under another host name; it needs privileges."""
