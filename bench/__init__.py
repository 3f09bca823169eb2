"""How fast raycl is on this machine: ``python -m bench``, from a clone of the repository."""
