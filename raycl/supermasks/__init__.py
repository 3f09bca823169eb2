"""Training, storage and combination of many masks on one frozen backbone."""
