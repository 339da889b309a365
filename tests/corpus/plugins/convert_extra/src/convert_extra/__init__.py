"""Formats for convert."""
