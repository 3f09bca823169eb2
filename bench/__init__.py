"""Measurements of the speed of raycl on this machine: ``python -m bench``, in a clone of the repository."""
