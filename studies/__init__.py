"""Studies that ship with raycl: a first one, examples, and a folder for each paper."""
