"""Many masks on one frozen backbone."""
