"""Worlds with hidden conventions, one file a domain; what they share is in `base`."""
