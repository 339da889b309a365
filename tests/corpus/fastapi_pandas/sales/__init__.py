"""Sums up sales: CSV in, JSON out."""
