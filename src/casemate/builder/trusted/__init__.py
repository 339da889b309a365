"""Trusted files of a manifest that somebody wrote: found, hashed on all processors, remembered."""
