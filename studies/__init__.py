"""The studies that come with raycl: a quickstart, examples, and a folder for each paper."""
