"""Families of encoders: one module for each, imported only when it is asked for."""
