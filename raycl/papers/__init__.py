"""The five papers: what they print, what they claim, and our results beside both."""
