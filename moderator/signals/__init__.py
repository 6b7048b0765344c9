"""Signals: further scorers whose output a policy's categories may use. One file per kind."""
