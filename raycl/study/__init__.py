"""What a researcher writes, the cells that it means, and what is to be played next."""
