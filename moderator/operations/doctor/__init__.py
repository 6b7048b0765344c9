"""Examines an installation: is it safe, will it lose anything, will the worker start?"""
