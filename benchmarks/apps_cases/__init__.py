"""Three systems as somebody would plainly write them, and as somebody would tune them by hand.

Both versions were written before the logging agent had looked at either.
"""
