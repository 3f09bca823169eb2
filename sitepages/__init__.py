"""The pages of the documentation that are made of raycl's classes, and the notebook, for `make docs`."""
