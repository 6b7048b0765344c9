"""Hooks: what upload servers and object stores post when an upload has arrived. One pure module per sender."""
