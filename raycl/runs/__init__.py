"""What a run is and how it is played: everything that a worker process loads ends here."""
