"""Signals: further scorers whose output a policy's categories may use. One file for each kind."""
