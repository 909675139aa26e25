"""What happened, again: recorded runs done over from their journals, compared, and with something changed."""
