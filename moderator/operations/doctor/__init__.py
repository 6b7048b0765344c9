"""Examination of an installation: is it safe, can it lose anything, will the worker start?"""
