"""Policies by evidence: drafts, lint by embedding, differences, evaluation, tuning, back-tests."""
