"""Small studies, each of which shows one feature of raycl."""
